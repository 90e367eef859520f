"""Nearest-neighbour estimators of mutual information."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import chex
import jax
from jax import custom_batching
import jax.numpy as jnp
import numpy as np
from scipy import special

from btw_jax.mutual_information import samples
from btw_jax.mutual_information import scalars
from btw_jax.mutual_information import transforms
from btw_jax.mutual_information import vectors

# The default number of neighbours.
NUM_NEIGHBOURS = 3
# The share of samples with ties from which `adaptive` uses `mixture`.
MAX_TIES = 0.05


def ksg(
  x: chex.Array,
  y: chex.Array,
  *,
  k: int = NUM_NEIGHBOURS,
  where: chex.Array | None = None,
  key: chex.PRNGKey | None = None,
) -> chex.Array:
  """Computes the Kraskov–Stögbauer–Grassberger estimate of `I(X; Y)`.

  The formula is `ψ(k) + ψ(N) − ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩`, where `n_x` counts
  the samples that are strictly nearer in x than the k-th neighbour in the joint
  space, with the maximum norm. Kraskov et al. (2004), "Estimating mutual
  information", eq. 8 (estimator 1), arXiv cond-mat/0305641.

  Neighbours are exact. The estimate may be negative and is not clipped.
  `I(X; X)` grows with `log N`, so compare values at equal N only. The estimate
  depends on the scales of x and y, and heavy tails harm it: see `transforms`.
  The gradient is 0, because the estimate is piecewise constant.

  Both variables must be continuous. Ties, for example in rounded predictions,
  give k-th distances of 0, hence counts of 0 and a large estimate; `key` breaks
  ties with `transforms.jitter`, and `mixture` needs no jitter.

  Scalars take O(kN) memory and O(N log N) time for smooth densities; vectors
  take O(N) memory and O(N²) time.

  Args:
    x: `[N]` or `[N, D]` samples; computed in float32 or wider. NumPy's float64
      and integers are centred before they are converted.
    y: `[N]` or `[N, D]` samples, paired with those of `x`; its D may differ.
    k: number of neighbours, static.
    where: `[N]` bool, the samples that count; all by default. The others change
      nothing, as if they were deleted.
    key: random key for the jitter; no jitter by default.

  Returns:
    Scalar in nats; 0 if `x` or `y` is constant; NaN if fewer than k + 2 samples
    count, or one of them is not finite.

  Raises:
    ValueError: if N < k + 2, the shapes do not match, or the dtype of the
      computation cannot tell most samples apart.
  """
  return _estimate_pair(x, y, k, where, key, _KSG)


def mixture(
  x: chex.Array,
  y: chex.Array,
  *,
  k: int = NUM_NEIGHBOURS,
  where: chex.Array | None = None,
) -> chex.Array:
  """Estimates `I(X; Y)` of variables that may have ties, atoms or classes.

  The formula is `⟨ψ(k_i)⟩ + log N − ⟨ψ(n_x) + ψ(n_y)⟩`. As in `ksg`, the counts
  are those of the samples that are strictly nearer than the k-th neighbour, and
  `k_i = k`; a sample counts itself. Where the k-th neighbour is at distance 0,
  `k_i`, `n_x` and `n_y` count the samples at distance 0 instead. Gao, Kannan,
  Oh & Viswanath (2017), "Estimating mutual information for discrete-continuous
  mixtures", algorithm 1, arXiv 1709.06212; ψ(n) stands in for log(n + 1), as in
  the code of the authors: both have the same limit.

  Each of X and Y may be continuous, discrete, or a mixture of both. Without
  ties the estimate is that of `ksg` plus `log N − ψ(N)`, about 1 / (2N). Of
  discrete samples it is the plug-in estimate, up to terms of order 1 / N.
  Classes without an order are given as one-hot vectors.

  Ties are recognised at distance 0 only. On a grid so fine that few samples are
  equal, many have their k-th neighbour one step away, together with others, and
  the estimate is too large: centre samples before they are rounded.

  Neighbours are exact. The estimate may be negative and is not clipped; it
  depends on the scales of x and y. The gradient is 0. Memory and time are those
  of `ksg`.

  Args:
    x: `[N]` or `[N, D]` samples, as for `ksg`.
    y: `[N]` or `[N, D]` samples, paired with those of `x`; its D may differ.
    k: number of neighbours, static.
    where: `[N]` bool, the samples that count; all by default. The others change
      nothing, as if they were deleted.

  Returns:
    Scalar in nats; 0 if `x` or `y` is constant; NaN if fewer than k + 2 samples
    count, or one of them is not finite.

  Raises:
    ValueError: if N < k + 2, the shapes do not match, or the dtype of the
      computation cannot tell most samples apart.
  """
  return _estimate_pair(x, y, k, where, None, _MIXTURE)


def adaptive(
  x: chex.Array,
  y: chex.Array,
  *,
  k: int = NUM_NEIGHBOURS,
  where: chex.Array | None = None,
) -> chex.Array:
  """Estimates `I(X; Y)` by `ksg`, or by `mixture` if many samples have ties.

  It uses `mixture` if more than `MAX_TIES` of the samples have their k-th
  neighbour at distance 0. Both share the search for neighbours. The arguments,
  the result and the errors are those of `mixture`.
  """
  return _estimate_pair(x, y, k, where, None, _ADAPTIVE)


def mixed(
  x: chex.Array,
  labels: chex.Array,
  *,
  num_classes: int,
  k: int = NUM_NEIGHBOURS,
  where: chex.Array | None = None,
  key: chex.PRNGKey | None = None,
) -> chex.Array:
  """Estimates `I(X; C)` of a continuous and a discrete variable.

  The formula is `ψ(N) + ⟨ψ(k_i)⟩ − ⟨ψ(N_i)⟩ − ⟨ψ(m_i)⟩`. Here `N_i` is the size
  of the class of sample i, `k_i = min(k, N_i − 1)`, and `m_i` counts the
  samples, including i, that are strictly nearer than the `k_i`-th neighbour of
  the same class. Ross (2014), "Mutual information between discrete and
  continuous data sets", eq. 2, averaged over samples.

  A sample that is alone in its class does not count. The estimate may be
  negative and is not clipped. The gradient is 0. A scalar x takes O(N log N)
  time, a vector O(N²); both take O(kN) memory.

  Args:
    x: `[N]` or `[N, D]` samples; distances use the maximum norm.
    labels: `[N]` int classes in [0, num_classes); a sample with another value
      does not count.
    num_classes: C, static.
    k: number of neighbours, static.
    where: `[N]` bool, the samples that count; all by default.
    key: random key for the jitter that breaks ties in x; no jitter by default.

  Returns:
    Scalar in nats; 0 if `x` or `labels` is constant; NaN if fewer than k + 2
    samples count, or one of them is not finite.

  Raises:
    ValueError: if N < k + 2, the shapes do not match, or the dtype of the
      computation cannot tell most samples apart.
  """
  (x,) = _columns(where, x=x)
  if jnp.ndim(labels) != 1:
    raise ValueError(f"labels have shape {jnp.shape(labels)}: give [N].")
  n = _check_rows(x, labels, k)
  if not isinstance(labels, jax.Array):
    # Larger integers than JAX holds would wrap into the range of the classes.
    labels = np.clip(labels, -1, num_classes)
  where = jnp.ones(n, bool) if where is None else where
  where &= (labels >= 0) & (labels < num_classes)
  labels = jnp.where(where, labels, num_classes).astype(jnp.int32)
  sizes = jnp.zeros(num_classes + 1, jnp.int32).at[labels].add(1)[labels]
  valid = (jnp.sum(where) >= k + 2) & _all_finite(x, where)
  varies = _varies(x, where) & _varies(labels[:, None], where)

  where &= sizes > 1
  ks = jnp.clip(sizes - 1, 1, k)
  values = _finite(x)
  if key is not None:
    values = transforms.jitter(key, values, where=where)
  if x.shape[1] == 1:
    count, values = scalars.count_in_class, values[:, 0]
  else:
    count = vectors.count_in_class
  nearer = jnp.maximum(count(values, labels, where, ks, k), 1)

  psi = _digamma_table(n, x.dtype)
  total = jnp.sum(where)
  terms = psi[jnp.maximum(total, 1)] + psi[ks] - psi[sizes] - psi[nearer]
  estimate = jnp.sum(jnp.where(where, terms, 0)) / jnp.maximum(total, 1)
  return jnp.where(valid, jnp.where(varies, estimate, 0), jnp.nan)


class _Method(NamedTuple):
  """The parts in which the estimators of pairs differ.

  Attributes:
    count_scalars: `(x, y, where, k)` to counts and `where`, `[B, N]` each.
    count_vectors: the same of `[N, D]` samples, to `[N]` each.
    combine: `(*counts, where, k, dtype)` to estimates, `[..., N]` to `[...]`.
  """

  count_scalars: Callable[..., tuple[chex.Array, ...]]
  count_vectors: Callable[..., tuple[chex.Array, ...]]
  combine: Callable[..., chex.Array]


def _estimate_pair(x, y, k, where, key, method):
  """Checks and prepares the samples of a pair, and estimates."""
  x, y = _columns(where, x=x, y=y)
  n = _check_rows(x, y, k)
  where = jnp.ones(n, bool) if where is None else where
  pair = [_finite(v) for v in (x, y)]
  if key is not None:
    keys = jax.random.split(key)
    pair = [
      transforms.jitter(jitter_key, v, where=where)
      for jitter_key, v in zip(keys, pair, strict=True)
    ]
  if x.shape[1] == y.shape[1] == 1:
    rows = [v[None] for v in (pair[0][:, 0], pair[1][:, 0], where)]
    estimate = _estimate_rows(method, k)(*rows)[0]
  else:
    counts = method.count_vectors(*pair, where, k)
    estimate = method.combine(*counts, k, x.dtype)
  enough = jnp.sum(where) >= k + 2
  valid = enough & _all_finite(x, where) & _all_finite(y, where)
  varies = _varies(x, where) & _varies(y, where)
  return jnp.where(valid, jnp.where(varies, estimate, 0), jnp.nan)


@functools.cache
def _estimate_rows(method, k):
  """Makes an estimator of B rows, `[B, N]` or `[1, N]` arrays to `[B]`.

  Its own `vmap` rule turns the mapped axis into further rows. The default rule
  would batch the `while` loops: every row would run until the last one ends,
  with a `select` of old and new values in each step.
  """

  @custom_batching.custom_vmap
  def estimate_rows(x, y, where):
    counts = method.count_scalars(x, y, where, k)
    return method.combine(*counts, k, x.dtype)

  @estimate_rows.def_vmap
  def _(axis_size, in_batched, *arrays):
    rows = max(
      v.shape[1 if mapped else 0]
      for v, mapped in zip(arrays, in_batched, strict=True)
    )

    def flatten(v, mapped):
      # A single row that all rows share stays one row: it is sorted only once.
      if not mapped and len(v) == 1:
        return v
      v = v if mapped else v[None]
      v = jnp.broadcast_to(v, (axis_size, rows, v.shape[-1]))
      return v.reshape(axis_size * rows, -1)

    flat = estimate_rows(*map(flatten, arrays, in_batched))
    return flat.reshape(axis_size, rows), True

  return estimate_rows


def _from_counts(nearer_x, nearer_y, where, k, dtype):
  """Computes eq. 8 of Kraskov et al. from `[..., N]` counts."""
  psi = _digamma_table(where.shape[-1], dtype)
  total = jnp.maximum(jnp.sum(where, axis=-1, keepdims=True), 1)
  # Averaging the differences, which are small, rounds less than subtracting
  # averages.
  terms = psi[k] + psi[total] - psi[nearer_x + 1] - psi[nearer_y + 1]
  return jnp.sum(jnp.where(where, terms, 0), axis=-1) / total[..., 0]


def _from_mixture_counts(inside_x, inside_y, inside_both, where, k, dtype):
  """Computes algorithm 1 of Gao et al. from `[..., N]` counts."""
  del k
  psi = _digamma_table(where.shape[-1], dtype)
  total = jnp.maximum(jnp.sum(where, axis=-1, keepdims=True), 1)
  terms = psi[inside_both] + jnp.log(total.astype(dtype))
  terms -= psi[inside_x] + psi[inside_y]
  return jnp.sum(jnp.where(where, terms, 0), axis=-1) / total[..., 0]


def _from_adaptive_counts(inside_x, inside_y, inside_both, where, k, dtype):
  """Computes both estimates from `[..., N]` counts and chooses one."""
  tied = inside_both > k
  nearer_x, nearer_y = (
    jnp.where(tied, 0, inside - 1) for inside in (inside_x, inside_y)
  )
  num_tied = jnp.sum(tied & where, axis=-1)
  return jnp.where(
    num_tied > MAX_TIES * jnp.sum(where, axis=-1),
    _from_mixture_counts(inside_x, inside_y, inside_both, where, k, dtype),
    _from_counts(nearer_x, nearer_y, where, k, dtype),
  )


_KSG = _Method(scalars.count_in_pair, vectors.count_in_pair, _from_counts)
_MIXTURE = _Method(
  scalars.count_in_mixture, vectors.count_in_mixture, _from_mixture_counts
)
_ADAPTIVE = _Method(
  scalars.count_in_mixture, vectors.count_in_mixture, _from_adaptive_counts
)


def _digamma_table(n, dtype):
  """Returns `[n + 2]` values ψ(0) to ψ(n + 1); ψ(1) stands in for ψ(0)."""
  table = special.digamma(np.maximum(np.arange(n + 2), 1))
  return jnp.asarray(table, dtype)


def _columns(where, **arrays):
  """Returns samples as `[N, D]` floats of one dtype, without gradient."""
  for name, x in arrays.items():
    if jnp.ndim(x) not in (1, 2):
      raise ValueError(
        f"{name} has shape {jnp.shape(x)}: give [N] or [N, D] samples."
      )
  arrays = jax.lax.stop_gradient(samples.convert(arrays, where=where))
  return [x if x.ndim == 2 else x[:, None] for x in arrays]


def _check_rows(x, y, k):
  n = x.shape[0]
  if len(y) != n:
    raise ValueError(
      f"x has {n} rows and the other variable {len(y)}: give the same number."
    )
  if k < 1 or n < k + 2:
    raise ValueError(
      f"{n} samples with k = {k}: give at least k + 2 samples, and k of at"
      " least 1."
    )
  return n


def _finite(x):
  """Replaces infinite values, NaN and −0 by 0, so that sorting is well defined.

  It does not use `where`, which differs between modalities: a variable that all
  modalities share then stays one array, and is sorted once.
  """
  return jnp.where(jnp.isfinite(x) & (x != 0), x, 0)


def _all_finite(x, where):
  """Tells if all values of the counted samples of `[N, D]` are finite."""
  return jnp.all(jnp.isfinite(x) | ~where[:, None])


def _varies(x, where):
  """Tells if any two counted samples of `[N, D]` differ."""
  first = x[jnp.argmax(where)]
  return jnp.any(where[:, None] & (x != first))
