"""Linear dependence: Pearson's correlation."""

import chex
import jax.numpy as jnp


def pearson(
  x: chex.Array, y: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Pearson correlation, `cov(x, y) / (std(x) std(y))`.

  Args:
    x: `[N]` samples.
    y: `[N]` samples, row by row with `x`.
    where: `[N]` bool, the samples that count; all by default.

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
  count = jnp.maximum(jnp.sum(where), 1)

  def centre(v):
    v = jnp.where(where, v, 0.0)
    return jnp.where(where, v - jnp.sum(v) / count, 0.0)

  x, y = centre(x), centre(y)
  sxx, syy = jnp.sum(x * x), jnp.sum(y * y)
  informative = (sxx > 0) & (syy > 0)
  # Taking roots apart keeps the product from underflowing.
  norm = jnp.sqrt(jnp.where(informative, sxx, 1.0)) * jnp.sqrt(
    jnp.where(informative, syy, 1.0)
  )
  return jnp.clip(jnp.sum(x * y) / norm, -1.0, 1.0)
