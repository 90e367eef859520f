"""Mutual information from histograms."""

import chex
import jax
import jax.numpy as jnp

from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import samples


def binned(
  x: chex.Array,
  y: chex.Array,
  *,
  num_bins: int,
  where: chex.Array | None = None,
) -> chex.Array:
  """Computes the plug-in mutual information of a two-dimensional histogram.

  The formula is `Σ_ab P_ab log(P_ab / (P_a P_b))` over bins of equal width
  between the smallest and the largest sample of each variable. For bins of
  equal count, apply `transforms.uniform_scores` first. Cover & Thomas (2006),
  eq. 2.28.

  For independent x and y the bias is about `(num_bins − 1)² / (2N)`; for
  dependent ones, coarse bins lose information. The gradient is 0.

  Args:
    x: `[N]` samples.
    y: `[N]` samples, paired with those of `x`.
    num_bins: number of bins of each variable, static.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    Scalar in nats, at most `log(num_bins)`; 0 if an input is constant.

  Raises:
    ValueError: if `x` and `y` are not vectors of equal length, `num_bins` is
      below 2, or the dtype of the computation cannot tell most samples apart.
  """
  if jnp.ndim(x) != 1 or jnp.shape(x) != jnp.shape(y):
    raise ValueError(
      f"x has shape {jnp.shape(x)} and y {jnp.shape(y)}: give two [N] arrays."
    )
  if num_bins < 2:
    raise ValueError(f"num_bins={num_bins} is too small: give 2 or more.")
  x, y = samples.convert({"x": x, "y": y}, where=where, rescale=True)
  where = jnp.ones(x.shape, bool) if where is None else where
  x, y = (
    jax.nn.one_hot(_bin_index(v, num_bins, where), num_bins) for v in (x, y)
  )
  return discrete.from_joint(discrete.soft_contingency(x, y, where=where))


def _bin_index(x, num_bins, where):
  """Returns the `[N]` bin of each sample."""
  low = jnp.min(jnp.where(where, x, jnp.inf))
  high = jnp.max(jnp.where(where, x, -jnp.inf))
  width = jnp.where(high > low, high - low, 1)
  place = jnp.floor((x - low) / width * num_bins).astype(jnp.int32)
  return jnp.clip(place, 0, num_bins - 1)
