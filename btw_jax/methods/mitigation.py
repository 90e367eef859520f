"""Training against interference: views of a batch, learned from and agreed on.

Cai et al. (2025), "Diagnosing and mitigating modality interference in
multimodal large language models": what is minimised is the loss of the batch,
that of views of it in which a modality is perturbed, and how far what is
predicted for a view is from what is predicted for the batch.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import predictions
from btw_jax import types


class View(Protocol):
  """A way to perturb a batch.

  Attributes:
    num_views: times that it is done, each drawn anew; their mean counts.
  """

  num_views: int

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Outputs `[U, B, K]` for what becomes of a batch, and that batch."""


@dataclasses.dataclass(frozen=True)
class Mitigation:
  """For `Trainer.hook`: the sum of `loss(view) + λ·divergence(view ‖ batch)`.

  Attributes:
    views: of the batch.
    augmented: factor of their losses.
    consistency: λ.
    divergence: name of `predictions.DIVERGENCES`; "kl" has the view first.
  """

  views: Sequence[View]
  augmented: float = 1.0
  consistency: float = 0.0
  divergence: str = "kl"

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    outputs: chex.Array,
    key: chex.PRNGKey,
  ) -> chex.Array:
    """What is minimised besides the loss of the batch.

    Args:
      forward: of the batch.
      embeddings: of the batch.
      outputs: `[U, B, K]` for the batch, held fixed here.
      key: the same on every device.

    Returns:
      `[U, B]`.
    """
    clean = forward.task.predict(jax.lax.stop_gradient(outputs))

    def paid(view, key):
      found, batch = view(forward, embeddings, key)
      sums = jnp.zeros(outputs.shape[:2])
      if self.augmented:
        sums += self.augmented * forward.losses(found, batch)
      if self.consistency:
        apart = predictions.divergence(
          forward.task.predict(found), clean, kind=self.divergence
        )
        sums += self.consistency * forward.counted(apart, batch)
      return sums

    def mean(view, key):
      if view.num_views == 1:
        return paid(view, key)
      keys = jax.random.split(key, view.num_views)
      each = jax.vmap(lambda key: paid(view, key))(keys)
      return jnp.mean(each, axis=0)

    return sum(
      mean(view, jax.random.fold_in(key, number))
      for number, view in enumerate(self.views)
    )
