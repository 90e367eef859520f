"""MLA: one modality at a time, through a head that all modalities share.

Zhang et al. (2024), "Multimodal representation learning by alternating unimodal
adaptation", arXiv 2311.10707.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import tasks
from btw_jax.methods.balance import base
from btw_jax.models import shared_head


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Trains the modalities in turn on every batch.

  A step shows one modality and trains its encoder and the shared head. The
  head's gradient is projected away from the features of the modalities before
  it: `P ← P − P·f·fᵀ·P / (α + fᵀ·P·f)`, f being the mean embedding of a batch,
  and P is rescaled to the norm of the identity. The network is that of
  `models.shared_head`, which mixes the modalities by their confidence. A
  regression takes its own training loss.

  Attributes:
    embedding_dim: D, width of an embedding.
  """

  setting: ClassVar[base.Setting] = base.Setting("α", 0.5, 0.05, 5.0, log=True)
  embedding_dim: int = 0

  @classmethod
  def make(cls, setup: base.Setup) -> "Method":
    """Builds the method."""
    return cls(setup.num_modalities, setup.embedding_dim)

  @property
  def rounds(self) -> int:
    """The number of steps on a batch: one for each modality."""
    return self.num_modalities

  @classmethod
  def check(cls, network, batch_size):
    """Refuses networks that fuse tokens."""
    del batch_size
    if not hasattr(network, "fuse_subsets"):
      return "has a network of its own: use --model=mlp"
    return None

  @classmethod
  def network(cls, network, task):
    """Returns a network with one head for all modalities."""
    return shared_head.SharedHead(network.sizes, CERTAINTIES[task.name])

  def init(self, seed):
    """Returns the state: the projector of a step, and that of the next one."""
    del seed
    identity = jnp.eye(self.embedding_dim)
    return {"projector": identity, "next": identity}

  def observe(self, step, forward, embeddings):
    """Adds the features of the modality to the next projector."""
    shown = self._turn(step)
    where = forward.batch.present & shown
    total, count = forward.sum_batch(
      (
        jnp.einsum("bmd,bm->d", embeddings, where.astype(embeddings.dtype)),
        jnp.sum(where).astype(embeddings.dtype),
      )
    )
    before = step.state["next"]
    mean = total / jnp.maximum(count, 1.0)
    return {
      "projector": before,
      "next": project_away(before, mean, self.value(step)),
    }

  def show(self, step, forward, shown):
    """Shows one modality."""
    present = shown.batch.present & self._turn(step)
    multipliers = forward_lib.keep_mean(
      shown.factors, shown.batch.present, present
    )
    return shown._replace(
      batch=shown.batch._replace(present=present), multipliers=multipliers
    )

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Leaves out the examples without the modality."""
    known = jnp.any(forward.batch.present & self._turn(step), axis=-1)
    return jnp.where(known, losses, 0.0)

  def change_gradients(self, step, owners, gradients, apart):
    """Projects the gradient of the shared head."""
    del owners, apart
    head = gradients["head"]
    kernel = step.state["projector"] @ head["kernel"]
    return gradients | {"head": head | {"kernel": kernel}}

  def trained(self, step):
    """Trains the encoder of the modality that is shown."""
    return self._turn(step)

  def _turn(self, step):
    """Returns `[M]` bool, the modality of a step."""
    modalities = jnp.arange(self.num_modalities)
    return modalities == step.number % self.num_modalities


def project_away(
  projector: chex.Array, features: chex.Array, alpha: chex.Array | float
) -> chex.Array:
  """Projects away from features too.

  Args:
    projector: `[D, D]`, P.
    features: `[D]`, f; 0 changes nothing.
    alpha: scalar α; the smaller, the less is left of the features.

  Returns:
    `[D, D]`, `P − P·f·fᵀ·P / (α + fᵀ·P·f)`, with the norm of the identity.
  """
  moved = projector @ features
  projector -= jnp.outer(moved, moved) / (alpha + features @ moved)
  norm = jnp.sqrt(jnp.sum(projector**2))
  return projector * jnp.sqrt(len(features)) / norm


def _certainty_of_classes(outputs):
  """Returns the negative entropy `[...]` of classes, in nats."""
  log_probs = jax.nn.log_softmax(outputs)
  return jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


def _certainty_of_labels(outputs):
  """Returns the negative entropy `[...]` of independent labels, in nats."""
  pairs = jnp.stack([outputs, jnp.zeros_like(outputs)], axis=-1)
  return jnp.sum(_certainty_of_classes(pairs), axis=-1)


def _certainty_of_values(outputs):
  """Returns the negative log of the predicted spread, up to a constant."""
  return -jnp.log(jax.nn.softplus(outputs[..., 1]) + tasks.MIN_SPREAD)


# Task -> how certain its outputs `[..., K]` are.
CERTAINTIES = {
  "multiclass": _certainty_of_classes,
  "binary": _certainty_of_labels,
  "multilabel": _certainty_of_labels,
  "regression": _certainty_of_values,
}
