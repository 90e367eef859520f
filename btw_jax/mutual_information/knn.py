"""Mutual information from nearest neighbours."""

import chex
import jax
import jax.numpy as jnp

# Rows of the distance matrix held at once.
_BLOCK = 256


def ksg(
  x: chex.Array,
  y: chex.Array,
  *,
  k: int = 3,
  where: chex.Array | None = None,
) -> chex.Array:
  """Kraskov–Stögbauer–Grassberger estimate of `I(X; Y)` in nats, exact.

  `ψ(k) + ψ(N) − ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩`, where `n_x` counts the samples
  strictly nearer in x than the k-th neighbour in the joint space under the
  maximum norm. Kraskov et al. (2004), "Estimating mutual information", eq. 8
  (estimator 1), arXiv cond-mat/0305641.

  The estimate may be negative and is not clipped. `I(X; X)` grows with
  `log N`: compare values at equal N only.

  Args:
    x: `[N]` or `[N, D]` samples.
    y: `[N]` or `[N, D]` samples, row by row with `x`.
    k: neighbours, static.
    where: `[N]` bool, the samples that count; all by default. The estimate is
      that of the compacted samples.

  Returns:
    Scalar in nats; 0 where `x` or `y` is constant. NaN under `jit` where fewer
    than k + 1 samples count.

  Raises:
    ValueError: if N < k + 2 or the numbers of rows differ.
  """
  x, y = (jnp.reshape(v, (jnp.shape(v)[0], -1)) for v in (x, y))
  n = x.shape[0]
  if y.shape[0] != n:
    raise ValueError(f"x has {n} rows and y {y.shape[0]}: give as many.")
  if n < k + 2:
    raise ValueError(f"{n} samples are too few for k = {k}: give k + 2 or more")
  where = jnp.ones(n, bool) if where is None else where
  count = jnp.sum(where)
  x, y = (jnp.where(where[:, None], v, 0.0) for v in (x, y))

  def of_row(i):
    others = where & (jnp.arange(n) != i)
    dx = jnp.max(jnp.abs(x - x[i]), axis=-1)
    dy = jnp.max(jnp.abs(y - y[i]), axis=-1)
    radius = _kth_smallest(jnp.where(others, jnp.maximum(dx, dy), jnp.inf), k)
    nx = jnp.sum(others & (dx < radius))
    ny = jnp.sum(others & (dy < radius))
    psi = jax.scipy.special.digamma
    return psi(nx + 1.0) + psi(ny + 1.0)

  psi = jax.lax.map(of_row, jnp.arange(n), batch_size=min(_BLOCK, n))
  mean = jnp.sum(jnp.where(where, psi, 0.0)) / count
  digamma = jax.scipy.special.digamma
  estimate = digamma(float(k)) + digamma(count.astype(mean.dtype)) - mean
  estimate = jnp.where(count > k, estimate, jnp.nan)
  return jnp.where(_varies(x, where) & _varies(y, where), estimate, 0.0)


def _kth_smallest(values: chex.Array, k: int) -> chex.Array:
  """The k-th smallest entry, by k passes: no sort, and no slow CPU `top_k`."""
  for _ in range(k - 1):
    values = values.at[jnp.argmin(values)].set(jnp.inf)
  return jnp.min(values)


def _varies(x: chex.Array, where: chex.Array) -> chex.Array:
  """Whether any counted sample of `[N, D]` differs from the first counted."""
  first = x[jnp.argmax(where)]
  return jnp.any(where[:, None] & (x != first))
