"""Sample-level valuation: examples show a modality alone that adds little.

Wei et al. (2024), "Enhancing multimodal cooperation via sample-level modality
valuation", arXiv 2309.06255.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax.methods.balance import agm
from btw_jax.methods.balance import base
from btw_jax.methods.balance import passes


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Minimises `L + v·Σ_m max(1 − φ_m, 0)·L_m`, example by example.

  φ_m is the Shapley value of modality m when a subset of modalities is worth
  its size if it decides correctly, else 0; it is 1 for modalities that decide
  correctly alone and together. L_m is the loss with modality m alone: the
  example is seen again without the others, as often as φ_m falls short of 1.
  Values are computed in every step, for the examples of its batch. In a
  regression, a decision is as correct as `passes.confidence` says.
  """

  setting: ClassVar[base.Setting] = base.Setting(
    "weight of further views", 1.0, 0.1, 10.0, log=True
  )
  warm_up: ClassVar[int] = 5

  def init(self, seed):
    """Returns the state: the number of epochs."""
    del seed
    return {"epoch": jnp.int32(0)}

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Adds the losses of the modalities alone that contribute little."""
    del outputs
    missing = jnp.maximum(1 - values(forward, embeddings, step.key), 0.0)
    added = jnp.sum(missing * passes.losses_alone(forward, embeddings), axis=0)
    is_on = step.state["epoch"] >= self.warm_up
    return losses + jnp.where(is_on, self.value(step), 0.0) * added

  def end_epoch(self, state):
    """Counts the epoch."""
    return base.next_epoch(state)


def values(
  forward: forward_lib.Forward, embeddings: chex.Array, key: chex.PRNGKey
) -> chex.Array:
  """Computes the values φ `[M, B]` of the modalities, without a gradient.

  Above four modalities, orders are drawn by `key`, the same on all devices.
  """
  fixed = forward.with_fixed_params()
  kept, weights = agm.plan_subsets(forward.batch.present.shape[1], key)
  outputs, known = fixed.fuse_subsets(jax.lax.stop_gradient(embeddings), kept)
  task, target = forward.task, forward.batch.target
  correct = (
    passes.confidence(task, outputs, target)
    if task.unit == "mae"
    else task.score(outputs, target)
  )
  size = jnp.sum(kept[:, None] & forward.batch.present, axis=-1)
  worth = jnp.where(known, size * correct, 0.0)
  return weights @ worth
