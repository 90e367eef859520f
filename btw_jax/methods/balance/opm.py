"""OPM: examples lose the modalities that are ahead.

Wei, Hu, Du and Wen (2024), "On-the-fly modulation for balanced multimodal
learning", IEEE TPAMI.
"""

import dataclasses
from typing import ClassVar

import chex
import jax.numpy as jnp

from btw_jax.methods.balance import base
from btw_jax.methods.balance import modality_dropout
from btw_jax.methods.balance import passes

# λ of the rate, as published.
_LAMBDA = 0.5


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Drops modality m with probability `q·(1 + λ·tanh(ρ_m − 1))` if ρ_m > 1.

  ρ_m is the mean confidence of modality m alone in the targets of a batch,
  relative to the sum of the other modalities; see `passes.confidence`, also for
  a regression. With more than two modalities of similar confidence no modality
  exceeds the sum of the others, and nothing is dropped.
  """

  setting: ClassVar[base.Setting] = base.Setting("q", 0.5, 0.1, 0.6, limit=1.0)
  warm_up: ClassVar[int] = 5

  def init(self, seed):
    """Returns the state: the rates, and the number of epochs."""
    del seed
    return {"rates": jnp.zeros(self.num_modalities), "epoch": jnp.int32(0)}

  def observe(self, step, forward, embeddings):
    """Computes the rates at which modalities are dropped."""
    scores, known = passes.mean_confidence(forward, embeddings)
    computed = rates(scores, known, self.value(step))
    is_on = step.state["epoch"] >= self.warm_up
    return step.state | {"rates": jnp.where(is_on, computed, 0.0)}

  def show(self, step, forward, shown):
    """Drops modalities."""
    return modality_dropout.drop(step.key, step.state["rates"], forward, shown)

  def end_epoch(self, state):
    """Counts the epoch."""
    return base.next_epoch(state)


def rates(
  scores: chex.Array, known: chex.Array, base_rate: chex.Array | float
) -> chex.Array:
  """Computes the rates `[M]` at which modalities are dropped.

  Args:
    scores: `[M]`, the score of each modality alone.
    known: `[M]` bool; modalities without a score do not count.
    base_rate: scalar q.

  Returns:
    `[M]`, in [0, 1].
  """
  others = passes.sum_of_others(scores, known)
  ratio = scores / jnp.where(others > 0, others, 1.0)
  rate = base_rate * (1 + _LAMBDA * jnp.tanh(ratio - 1))
  is_ahead = known & (others > 0) & (ratio > 1)
  return jnp.where(is_ahead, jnp.clip(rate, 0.0, 1.0), 0.0)
