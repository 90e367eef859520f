"""UMT: embeddings are kept close to those of the unimodal models.

Du et al. (2023), "On uni-modal feature learning in supervised multi-modal
learning", arXiv 2305.01233.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.methods.balance import base


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Minimises `L + λ·Σ_m mean (z_m − t_m)²`, the mean over embedding units.

  t_m is the embedding of the frozen unimodal model of modality m, without
  dropout. It needs no targets, so that it is the same for any task. Missing
  modalities do not count.

  Attributes:
    seeds: the S seeds.
    teacher: the network of the unimodal models.
    teacher_params: its parameters, `[S, ...]`.
  """

  setting: ClassVar[base.Setting] = base.Setting(
    "λ", 10.0, 0.1, 100.0, log=True
  )
  seeds: Sequence[int] = ()
  teacher: nn.Module | None = None
  teacher_params: Any = None

  @classmethod
  def make(cls, setup: base.Setup) -> "Method":
    """Builds the method."""
    return cls(
      setup.num_modalities, setup.seeds, setup.teacher, setup.teacher_params
    )

  def init(self, seed):
    """Returns the state: the parameters of the seed's unimodal models."""
    index = jnp.argmax(jnp.asarray(self.seeds) == seed)
    return jax.tree.map(lambda x: jnp.asarray(x)[index], self.teacher_params)

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Adds the distance of the embeddings to those of the unimodal models."""
    del outputs
    sizes = forward.network.sizes
    owners = np.asarray(forward.network.token_modalities)
    own_sizes = dataclasses.replace(
      self.teacher.sizes, num_steps=sizes.num_steps
    )
    has_steps = owners.tolist() != list(range(self.num_modalities))
    wanted = self.teacher.clone(sizes=own_sizes).apply(
      {"params": step.state},
      forward.batch,
      train=False,
      method="encode_steps" if has_steps else "encode",
    )
    present = forward.batch.present[:, owners]
    if has_steps:
      present = present & forward.network.steps_present(forward.batch)
    squared = jnp.mean((embeddings - wanted) ** 2, axis=-1)
    squared = jnp.where(present, squared, 0.0)
    # A modality of many steps counts as one of a vector: by its mean.
    of_modality = owners == np.arange(self.num_modalities)[:, None]
    total, count = (
      jnp.where(of_modality, x[:, None], 0.0).sum(axis=-1)
      for x in (squared, present.astype(squared.dtype))
    )
    distance = jnp.sum(total / jnp.maximum(count, 1.0), axis=-1)
    return losses + self.value(step) * distance
