"""Pearson's correlation, and the mutual information that it implies."""

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.mutual_information import samples


def pearson(
  x: chex.Array,
  y: chex.Array,
  *,
  where: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Computes the Pearson correlation, `cov(x, y) / (std(x) std(y))`.

  Args:
    x: `[N]` samples.
    y: `[N]` samples, paired with those of `x`.
    where: `[N]` bool, the samples that count; all by default.
    axis_name: a mapped axis over which the samples are sharded; not sharded
      by default.

  Returns:
    Scalar in [−1, 1]; 0 if an input is constant.

  Raises:
    ValueError: if `x` and `y` are not vectors of equal length, or the dtype of
      the computation cannot tell most samples apart.
  """
  if jnp.ndim(x) != 1 or jnp.shape(x) != jnp.shape(y):
    raise ValueError(
      f"x has shape {jnp.shape(x)} and y {jnp.shape(y)}: give two [N] arrays."
    )
  x, y = samples.convert({"x": x, "y": y}, where=where, rescale=True)
  where = jnp.ones(x.shape, bool) if where is None else where

  def sum_all(*values):
    return types.psum_over([jnp.sum(v) for v in values], axis_name)

  x, y = jnp.where(where, x, 0.0), jnp.where(where, y, 0.0)
  count, sx, sy = sum_all(where, x, y)
  count = jnp.maximum(count, 1)
  x = _scale(jnp.where(where, x - sx / count, 0.0), axis_name)
  y = _scale(jnp.where(where, y - sy / count, 0.0), axis_name)
  sxx, syy, sxy = sum_all(x * x, y * y, x * y)
  informative = (sxx > 0) & (syy > 0)
  # The product of the roots does not underflow where the root of the product
  # would; the inner `where`s keep the gradient finite for a constant input.
  norm = jnp.sqrt(jnp.where(informative, sxx, 1.0)) * jnp.sqrt(
    jnp.where(informative, syy, 1.0)
  )
  return jnp.clip(sxy / norm, -1.0, 1.0)


def _scale(x, axis_name):
  """Divides by a power of 2 near the largest value, so that squares exist."""
  # The correlation does not depend on the factor, hence no gradient.
  largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)))
  if axis_name is not None:
    largest = jax.lax.pmax(largest, axis_name)
  # Both factors, one for each half of the exponent, are normal numbers.
  exponent = jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 0)
  half = exponent // 2
  one = jnp.ones((), x.dtype)
  return x * jnp.ldexp(one, -half) * jnp.ldexp(one, half - exponent)


def gaussian_information(correlation: chex.Array) -> chex.Array:
  """Computes the mutual information `−½ log(1 − ρ²)` of Gaussian variables.

  Cover & Thomas (2006), example 8.5.1.

  Args:
    correlation: `[...]` ρ in [−1, 1].

  Returns:
    `[...]` nats. At |ρ| = 1 the result is `−½ log ε` instead of infinity, with
    ε the resolution of the dtype (8 nats in float32), and the gradient is 0.
  """
  (rho,) = types.as_float(correlation)
  weak = jnp.abs(rho) < 0.5
  # The inner `where` keeps log1p(−1) = −∞ out of the gradient at |ρ| = 1.
  near_zero = jnp.log1p(-(jnp.where(weak, rho, 0.0) ** 2))
  # (1 − ρ)(1 + ρ) keeps the digits that 1 − ρ² loses near 1.
  unexplained = (1 - rho) * (1 + rho)
  near_one = jnp.log(jnp.maximum(unexplained, jnp.finfo(rho.dtype).eps))
  return -0.5 * jnp.where(weak, near_zero, near_one)
