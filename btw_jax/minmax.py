"""The weights as the public code of BTW computes them: min-max, not by rows.

An instance weight is the place of a divergence between the least and the
largest one of its modality, and `k_im · g_m` itself is the factor of the
embedding. A table of weights holds `k_im · g_m / M_i`, M_i being the number of
present modalities: the factor is `M_i` times the weight as for the weights of
`weighting`, 1 / M_i is the plain model, but rows have any sum up to 1.
"""

import chex
import jax
import jax.numpy as jnp

from btw_jax import weighting


def divergence_range(
  divergence: chex.Array, where: chex.Array, *, axis_name: str | None = None
) -> tuple[chex.Array, chex.Array]:
  """Finds the least and the largest divergence of each modality.

  Args:
    divergence: `[N, M]` in nats; values that are not finite do not count.
    where: `[N, M]` bool, the examples that count for each modality.
    axis_name: a mapped axis over which the examples are sharded; not sharded
      by default.

  Returns:
    `[M]` least and `[M]` largest divergence in nats; both are 0 for a modality
    that no example counts for.
  """
  where = where & jnp.isfinite(divergence)
  low = jnp.min(jnp.where(where, divergence, jnp.inf), axis=0)
  high = jnp.max(jnp.where(where, divergence, -jnp.inf), axis=0)
  if axis_name is not None:
    low, high = jax.lax.pmin(low, axis_name), jax.lax.pmax(high, axis_name)
  exists = low <= high
  return jnp.where(exists, low, 0.0), jnp.where(exists, high, 0.0)


def instance_weights(
  divergence: chex.Array, low: chex.Array, high: chex.Array
) -> chex.Array:
  """Computes the instance weights `k_im = (d_im − low_m) / (high_m − low_m)`.

  Args:
    divergence: `[..., M]` in nats; values below `weighting.FLOOR` are raised to
      it, as are those of `low` and `high`.
    low: `[M]` least divergence of the training set, in nats.
    high: `[M]` largest divergence of the training set, in nats.

  Returns:
    `[..., M]` weights, clipped to [0, 1]; 0 for a modality whose divergence is
    constant, that is `low == high`.
  """
  divergence, low, high = (
    jnp.maximum(x, weighting.FLOOR) for x in (divergence, low, high)
  )
  # Clipped before the division: an infinite value would make a gradient NaN.
  above = jnp.clip(divergence, low, high) - low
  span = high - low
  # Where the span is 0, so is what is divided; dividing by 1 avoids NaN.
  return above / jnp.where(span > 0, span, 1.0)


def combine(
  instance: chex.Array, modality: chex.Array, present: chex.Array
) -> chex.Array:
  """Combines instance and modality weights, `w_im = k_im · g_m / M_i`.

  `weighting.multipliers` turns them into the factors
  `c · ((1−λ) + λ · k_im · g_m)`.

  Args:
    instance: `[..., M]` instance weights k.
    modality: `[M]` modality weights g.
    present: `[..., M]` bool.

  Returns:
    `[..., M]` weights; 0 for a missing modality, rows not normalised.
  """
  # The inner `where` keeps a NaN of a missing modality out of the gradient.
  instance = jnp.where(present, instance, 0.0)
  return weighting.uniform(present) * instance * modality
