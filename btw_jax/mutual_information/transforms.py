"""Marginal transforms: what to do to a variable before it is measured.

Mutual information is blind to strictly monotone maps of either variable; its
estimates are not. Each function maps columns apart.
"""

import chex
import jax
import jax.numpy as jnp

from btw_jax import types

# The share of a standard deviation that jitter adds: many times the resolution
# of float32, and little beside the distances to neighbours at N = 10⁵.
JITTER = 1e-4


def none(x: chex.Array, *, where: chex.Array | None = None) -> chex.Array:
  """The samples as they are.

  Args:
    x: `[N]` or `[N, D]`.
    where: not used.

  Returns:
    `x`.
  """
  del where
  return x


def standardise(
  x: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Mean 0 and standard deviation 1, `(x − mean) / std`, std over N.

  Args:
    x: `[N]` or `[N, D]`.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    The shape of `x`; 0 where a column is constant or a sample does not count.
  """
  centred, std = _centre(*_masked(x, where))
  return centred / jnp.where(std > 0, std, 1)


def rank(x: chex.Array, *, where: chex.Array | None = None) -> chex.Array:
  """Ranks as normal scores, `Φ⁻¹((r − ½) / N)`: the margin made Gaussian.

  They undo every strictly increasing map. Ranks themselves, a lattice, would
  tie many distances, which biases a nearest-neighbour estimate upwards.

  Args:
    x: `[N]` or `[N, D]`.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    The shape of `x`; 0 where a sample does not count.
  """
  return jax.scipy.special.ndtri(uniform_scores(x, where=where))


def uniform_scores(
  x: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Place among the samples as a share, `(r − ½) / N`: the empirical copula.

  r is the rank from 1, of ties their mean.

  Args:
    x: `[N]` or `[N, D]`.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    The shape of `x`, in (0, 1); ½ where a sample does not count.
  """
  x, mask = _masked(x, where)

  def of_column(x, mask):
    # What does not count sorts behind what does.
    x = jnp.where(mask, x, jnp.inf)
    ordered = jnp.sort(x)
    below, upto = (
      jnp.searchsorted(ordered, x, side=side, method="scan")
      for side in ("left", "right")
    )
    count = jnp.maximum(jnp.sum(mask), 1)
    return jnp.where(mask, (below + upto) / (2 * count), 0.5).astype(x.dtype)

  if x.ndim == 1:
    return of_column(x, mask)
  return jax.vmap(of_column, 1, 1)(x, mask)


def jitter(
  key: chex.PRNGKey, x: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Ties broken: centred, with uniform noise of ±`JITTER` std added.

  Centring keeps the digits that the noise needs, and no information is in a
  mean.

  Args:
    key: seeds the noise.
    x: `[N]` or `[N, D]`.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    The shape of `x`; 0 where a column is constant or a sample does not count.
  """
  x, mask = _masked(x, where)
  centred, std = _centre(x, mask)
  noise = jax.random.uniform(key, x.shape, x.dtype, -1.0, 1.0)
  return jnp.where(mask, centred + JITTER * std * noise, 0)


# name -> transform
TRANSFORMS = {"none": none, "standardise": standardise, "rank": rank}


def _centre(x, mask):
  """Samples less their mean, 0 where they do not count, and their std."""
  count = jnp.maximum(jnp.sum(mask, axis=0), 1)
  # From the first counted sample on, a constant is exactly 0.
  first = jnp.take_along_axis(x, jnp.argmax(mask, axis=0)[None], axis=0)
  x = jnp.where(mask, x - first, 0)
  centred = jnp.where(mask, x - jnp.sum(x, axis=0) / count, 0)
  # Scaled, lest squares under- or overflow.
  largest = jnp.max(jnp.abs(centred), axis=0)
  scaled = centred / jnp.where(largest > 0, largest, 1)
  variance = jnp.sum(scaled * scaled, axis=0) / count
  safe = jnp.where(variance > 0, variance, 1)
  return centred, largest * jnp.where(variance > 0, jnp.sqrt(safe), 0)


def _masked(x, where):
  """Floats, and `where` in their shape."""
  (x,) = types.as_float(x)
  if where is None:
    return x, jnp.ones(x.shape, bool)
  where = where if x.ndim == 1 else where[:, None]
  return x, jnp.broadcast_to(where, x.shape)
