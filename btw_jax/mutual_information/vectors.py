"""Nearest neighbours of vectors, by comparing samples with shifted samples.

O(N²) time and O(N) memory: the distances of one shift are computed at a time,
never the full matrix.
"""

from collections.abc import Callable, Sequence
import functools

import chex
from jax import lax
import jax.numpy as jnp

from btw_jax.mutual_information import neighbours

# Shifts per loop iteration.
_UNROLL = 16


def count_in_pair(
  x: chex.Array, y: chex.Array, where: chex.Array, k: int
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Counts samples nearer in one variable than the k-th neighbour in both.

  "Nearer" is strict. Distances are maximum norms, of x, of y and of both. x and
  y are `[N, D]` with any two D, `where` is an `[N]` mask, and both counts are
  `[N]`.
  """
  distances, bound = _find_bound(x, y, where, k)
  nearer = _count_below(distances, bound, jnp.zeros(len(x), jnp.int32))
  return nearer[0], nearer[1], where


def count_in_mixture(
  x: chex.Array, y: chex.Array, where: chex.Array, k: int
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array]:
  """Counts as `scalars.count_in_mixture` does, for `[N, D]` samples."""
  distances, bound = _find_bound(x, y, where, k)
  # A bound above 0 counts the samples at distance 0.
  least = neighbours.bits(jnp.finfo(x.dtype).tiny)

  def in_both(shift):
    return jnp.maximum(*(distance(shift) for distance in distances))

  nearer = _count_below(
    [*distances, in_both],
    jnp.maximum(bound, least),
    jnp.ones(len(x), jnp.int32),
  )
  return nearer[0], nearer[1], jnp.where(bound == 0, nearer[2], k), where


def _find_bound(x, y, where, k):
  """Returns the distances of x and of y, and the k-th of both, as bits."""
  distances = [_distance(v, where) for v in (x, y)]

  def nearest(best, shift):
    x_and_y = [distance(shift) for distance in distances]
    return neighbours.insert(best, jnp.maximum(*x_and_y))

  best = neighbours.init_lists((len(x),), x.dtype, k)
  *_, bound = _over_shifts(nearest, best, len(x))
  return distances, bound


def _count_below(distances, bound, start):
  """Counts, from `start`, the samples below a bound by each distance."""

  def count(counts, shift):
    return [
      number + (distance(shift) < bound)
      for number, distance in zip(counts, distances, strict=True)
    ]

  return _over_shifts(count, [start] * len(distances), len(start))


def count_in_class(
  x: chex.Array, labels: chex.Array, where: chex.Array, k: chex.Array, most: int
) -> chex.Array:
  """Counts samples nearer than the k-th neighbour of the same class.

  "Nearer" is strict; each sample counts itself. If the k-th neighbour is at
  distance 0, all samples at distance 0 are counted. x is `[N, D]`; `where` is a
  mask; k is `[N]` and at most `most`, which is static; the result is `[N]`.
  """
  distance = _distance(x, where)
  doubled = jnp.tile(labels, 2)
  n = x.shape[0]

  def nearest(best, shift):
    same = lax.dynamic_slice(doubled, (shift,), (n,)) == labels
    infinite = neighbours.infinity(x.dtype)
    return neighbours.insert(best, jnp.where(same, distance(shift), infinite))

  best = neighbours.init_lists((n,), x.dtype, most)
  bound = neighbours.kth(_over_shifts(nearest, best, n), k)
  # A bound above 0 counts the samples at distance 0.
  bound = jnp.maximum(bound, neighbours.bits(jnp.finfo(x.dtype).tiny))

  (nearer,) = _count_below([distance], bound, jnp.ones(n, jnp.int32))
  return nearer


def _distance(x, where) -> Callable[[chex.Array], chex.Array]:
  """Returns a function of a shift: bits of the distances `[N]` at this shift.

  The distance of sample i is that to sample (i + shift) mod N.
  """
  # A sample that does not count becomes infinite: it is no sample's neighbour.
  columns = jnp.where(where[:, None], x, jnp.inf).T
  doubled = jnp.tile(columns, (1, 2))

  def distance(shift):
    n = x.shape[0]
    moved = lax.dynamic_slice_in_dim(doubled, shift, n, axis=-1)
    return jnp.max(neighbours.bits(moved - columns), axis=0)

  return distance


def _over_shifts(
  function: Callable[[Sequence[chex.Array], chex.Array], Sequence[chex.Array]],
  carry: Sequence[chex.Array],
  n: int,
) -> Sequence[chex.Array]:
  """Folds `function(carry, shift)` over the shifts 1 to n − 1."""
  iterations, remainder = divmod(n - 1, _UNROLL)

  def unrolled(i, carry):
    shifts = [1 + i * _UNROLL + s for s in range(_UNROLL)]
    return functools.reduce(function, shifts, carry)

  carry = lax.fori_loop(0, iterations, unrolled, carry)
  return lax.fori_loop(n - remainder, n, lambda s, c: function(c, s), carry)
