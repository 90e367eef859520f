"""Linear dependence: Pearson's correlation, and what it implies."""

import chex
import jax.numpy as jnp

from btw_jax import types


def pearson(
  x: chex.Array,
  y: chex.Array,
  *,
  where: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Pearson correlation, `cov(x, y) / (std(x) std(y))`.

  Args:
    x: `[N]` samples.
    y: `[N]` samples, row by row with `x`.
    where: `[N]` bool, the samples that count; all by default.
    axis_name: of a mapped axis over which the samples are spread; all are at
      hand by default.

  Returns:
    Scalar in [−1, 1]; 0 where an input is constant (no direction to share).

  Raises:
    ValueError: if `x` and `y` are not two vectors of one length.
  """
  if jnp.ndim(x) != 1 or jnp.shape(x) != jnp.shape(y):
    raise ValueError(
      f"x has shape {jnp.shape(x)} and y {jnp.shape(y)}: give two [N] arrays."
    )
  where = jnp.ones(jnp.shape(x), bool) if where is None else where

  def add_up(*values):
    return types.total([jnp.sum(v) for v in values], axis_name)

  x, y = jnp.where(where, x, 0.0), jnp.where(where, y, 0.0)
  count, sx, sy = add_up(where, x, y)
  count = jnp.maximum(count, 1)
  x = jnp.where(where, x - sx / count, 0.0)
  y = jnp.where(where, y - sy / count, 0.0)
  sxx, syy, sxy = add_up(x * x, y * y, x * y)
  informative = (sxx > 0) & (syy > 0)
  # Taking roots apart keeps the product from underflowing.
  norm = jnp.sqrt(jnp.where(informative, sxx, 1.0)) * jnp.sqrt(
    jnp.where(informative, syy, 1.0)
  )
  return jnp.clip(sxy / norm, -1.0, 1.0)


def gaussian_information(correlation: chex.Array) -> chex.Array:
  """Mutual information of two jointly Gaussian variables, `−½ log(1 − ρ²)`.

  Cover & Thomas (2006), example 8.5.1.

  Args:
    correlation: `[...]` ρ in [−1, 1].

  Returns:
    `[...]` nats; at |ρ| = 1 not infinite but `−½ log ε`, ε the resolution of
    the dtype (8 nats in float32), gradient 0 there.
  """
  (rho,) = types.as_float(correlation)
  weak = jnp.abs(rho) < 0.5
  near_zero = jnp.log1p(-(jnp.where(weak, rho, 0.0) ** 2))
  # (1 − ρ)(1 + ρ) keeps the digits that 1 − ρ² loses near 1.
  rest = (1 - rho) * (1 + rho)
  near_one = jnp.log(jnp.maximum(rest, jnp.finfo(rho.dtype).eps))
  return -0.5 * jnp.where(weak, near_zero, near_one)
