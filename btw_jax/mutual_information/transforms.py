"""Transforms of a variable before its mutual information is estimated.

Strictly monotone maps of a variable do not change its mutual information, but
they change the estimates. Every function transforms each column separately.
"""

import chex
import jax
import jax.numpy as jnp

from btw_jax.mutual_information import samples

# The amplitude of jitter, in standard deviations: far above the resolution of
# float32, and far below the distance to a neighbour at N = 10⁵.
JITTER = 1e-4


def none(x: chex.Array, *, where: chex.Array | None = None) -> chex.Array:
  """Returns the samples unchanged; `where` is not used."""
  del where
  return x


def standardise(
  x: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Scales samples to mean 0 and standard deviation 1 (division by N).

  Args:
    x: `[N]` or `[N, D]` samples.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    An array of the shape of `x`; 0 for constant columns and for samples that do
    not count.
  """
  centred, std = _centre(*_masked(x, where, rescale=True))
  return centred / jnp.where(std > 0, std, 1)


def rank(x: chex.Array, *, where: chex.Array | None = None) -> chex.Array:
  """Computes the normal scores of the samples, `Φ⁻¹((r − ½) / N)`, r the rank.

  The result has a Gaussian margin and does not change under strictly increasing
  maps. Plain ranks would give many equal distances, which bias
  nearest-neighbour estimates upwards.

  Args:
    x: `[N]` or `[N, D]` samples.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    An array of the shape of `x`; 0 for samples that do not count.
  """
  return jax.scipy.special.ndtri(uniform_scores(x, where=where))


def uniform_scores(
  x: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Computes `(r − ½) / N` for each sample, with r its rank from 1.

  Equal samples get their mean rank. The scores of several variables are samples
  of their empirical copula.

  Args:
    x: `[N]` or `[N, D]` samples.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    An array of the shape of `x`, in (0, 1); ½ for samples that do not count.
  """
  x, mask = _masked(x, where, rescale=True)

  def score_column(x, mask):
    # Samples that do not count sort last.
    x = jnp.where(mask, x, jnp.inf)
    ordered = jnp.sort(x)
    below, upto = (
      jnp.searchsorted(ordered, x, side=side, method="scan")
      for side in ("left", "right")
    )
    count = jnp.maximum(jnp.sum(mask), 1)
    return jnp.where(mask, (below + upto) / (2 * count), 0.5).astype(x.dtype)

  if x.ndim == 1:
    return score_column(x, mask)
  return jax.vmap(score_column, 1, 1)(x, mask)


def jitter(
  key: chex.PRNGKey, x: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Breaks ties: centres the samples and adds uniform noise of ±`JITTER` std.

  Centring keeps the noise from being lost to rounding beside a large mean.

  Args:
    key: random key for the noise.
    x: `[N]` or `[N, D]` samples.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    An array of the shape of `x`; 0 for constant columns and for samples that do
    not count.
  """
  x, mask = _masked(x, where)
  centred, std = _centre(x, mask)
  noise = jax.random.uniform(key, x.shape, x.dtype, -1.0, 1.0)
  return jnp.where(mask, centred + JITTER * std * noise, 0)


# Name -> transform.
TRANSFORMS = {"none": none, "standardise": standardise, "rank": rank}


def _centre(x, mask):
  """Returns centred samples, 0 where they do not count, and their std."""
  count = jnp.maximum(jnp.sum(mask, axis=0), 1)
  # Subtracting the first counted sample makes a constant column exactly 0.
  first = jnp.take_along_axis(x, jnp.argmax(mask, axis=0)[None], axis=0)
  x = jnp.where(mask, x - first, 0)
  centred = jnp.where(mask, x - jnp.sum(x, axis=0) / count, 0)
  # Squares of unscaled values could under- or overflow. Dividing by 1 where all
  # values are 0, here and below, keeps NaN out of values and gradients.
  largest = jnp.max(jnp.abs(centred), axis=0)
  scaled = centred / jnp.where(largest > 0, largest, 1)
  variance = jnp.sum(scaled * scaled, axis=0) / count
  safe = jnp.where(variance > 0, variance, 1)
  return centred, largest * jnp.where(variance > 0, jnp.sqrt(safe), 0)


def _masked(x, where, *, rescale=False):
  """Returns x as floats, and `where` broadcast to its shape."""
  (x,) = samples.convert({"x": x}, where=where, rescale=rescale)
  if where is None:
    return x, jnp.ones(x.shape, bool)
  where = where if x.ndim == 1 else where[:, None]
  return x, jnp.broadcast_to(where, x.shape)
