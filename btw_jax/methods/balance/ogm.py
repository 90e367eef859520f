"""OGM: encoders of modalities that are ahead learn more slowly.

Peng et al. (2022), "Balanced multimodal learning via on-the-fly gradient
modulation", arXiv 2203.15332. The source has two modalities and a head that is
a sum; here the scores come from passes with one modality alone, for any head
and any number of modalities.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from btw_jax.methods.balance import base
from btw_jax.methods.balance import passes

# The epoch at which modulation ends, as published.
_LAST_EPOCH = 50


@dataclasses.dataclass(frozen=True)
class Method(base.Modulation):
  """Multiplies what an encoder learns by `k_m = 1 − tanh(α·ρ_m)` if ρ_m > 1.

  ρ_m is the mean confidence of modality m alone in the targets of a batch,
  relative to the mean of the other modalities; see `passes.confidence`, also
  for a regression.
  """

  setting: ClassVar[base.Setting] = base.Setting("α", 0.3, 0.1, 0.8)
  # Whether to add noise, as large as what is multiplied (GE).
  noisy: ClassVar[bool] = False

  def init(self, seed):
    """Returns the state: the factors, and the number of epochs."""
    del seed
    return {"factors": jnp.ones(self.num_modalities), "epoch": jnp.int32(0)}

  def observe(self, step, forward, embeddings):
    """Computes the factors of the encoders."""
    scores, known = passes.mean_confidence(forward, embeddings)
    computed = factors(scores, known, self.value(step))
    is_on = step.state["epoch"] < _LAST_EPOCH
    return step.state | {"factors": jnp.where(is_on, computed, 1.0)}

  def modulate(self, step, owners, tree):
    """Multiplies by the factors, and adds noise if asked to."""
    scaled = owners.scale(tree, step.state["factors"])
    if not self.noisy:
      return scaled
    is_on = step.state["epoch"] < _LAST_EPOCH
    stds = jax.tree.map(lambda x: jnp.where(is_on, x, 0.0), tree)
    return owners.add_noise(scaled, stds, step.key)

  def end_epoch(self, state):
    """Counts the epoch."""
    return base.next_epoch(state)


def factors(
  scores: chex.Array, known: chex.Array, alpha: chex.Array | float
) -> chex.Array:
  """Computes the factors `[M]` of the encoders.

  Args:
    scores: `[M]`, the score of each modality alone.
    known: `[M]` bool; modalities without a score do not count.
    alpha: scalar α.

  Returns:
    `[M]`, in (0, 1].
  """
  others = passes.sum_of_others(scores, known)
  num_others = jnp.maximum(jnp.sum(known) - 1, 1)
  ratio = scores * num_others / jnp.where(others > 0, others, 1.0)
  is_ahead = known & (others > 0) & (ratio > 1)
  return jnp.where(is_ahead, 1 - jnp.tanh(alpha * ratio), 1.0)
