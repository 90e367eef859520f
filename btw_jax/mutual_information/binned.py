"""Mutual information of histograms."""

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.mutual_information import discrete


def binned(
  x: chex.Array,
  y: chex.Array,
  *,
  num_bins: int,
  where: chex.Array | None = None,
) -> chex.Array:
  """Plug-in information of a two-dimensional histogram, in nats.

  `Σ_ab P_ab log(P_ab / (P_a P_b))` over bins of equal width between the least
  and the greatest sample of each variable. Bins of equal count come from
  `transforms.uniform_scores`. Cover & Thomas (2006), eq. 2.28.

  Biased upwards by about `(num_bins − 1)² / (2N)` where x and y are
  independent, downwards by what a bin hides. The gradient is 0.

  Args:
    x: `[N]` samples.
    y: `[N]` samples, row by row with `x`.
    num_bins: bins of each variable, static.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    Scalar in nats, at most `log(num_bins)`; 0 where an input is constant.

  Raises:
    ValueError: if `x` and `y` are not two vectors of one length, or `num_bins`
      is below 2.
  """
  if jnp.ndim(x) != 1 or jnp.shape(x) != jnp.shape(y):
    raise ValueError(
      f"x has shape {jnp.shape(x)} and y {jnp.shape(y)}: give two [N] arrays."
    )
  if num_bins < 2:
    raise ValueError(f"num_bins={num_bins} tells nothing: give 2 or more.")
  where = jnp.ones(jnp.shape(x), bool) if where is None else where
  x, y = (jax.nn.one_hot(_bin(v, num_bins, where), num_bins) for v in (x, y))
  return discrete.from_joint(discrete.soft_contingency(x, y, where=where))


def _bin(x, num_bins, where):
  (x,) = types.as_float(x)
  low = jnp.min(jnp.where(where, x, jnp.inf))
  high = jnp.max(jnp.where(where, x, -jnp.inf))
  width = jnp.where(high > low, high - low, 1)
  place = jnp.floor((x - low) / width * num_bins).astype(jnp.int32)
  return jnp.clip(place, 0, num_bins - 1)
