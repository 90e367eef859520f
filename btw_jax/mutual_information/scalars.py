"""Nearest neighbours of scalars, by sorting and comparing shifted arrays.

O(kN) memory and, for smooth densities, O(N log N) time; O(N²) at worst. Arrays
are `[B, N]`: B independent rows. An array that all rows share may be `[1, N]`,
and is then sorted once. Distances are integers, see `neighbours.bits`.
"""

import functools
import math
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from btw_jax.mutual_information import neighbours

# Shifts per loop iteration. Fewer make the overhead of an iteration dominate;
# more make compilation slow.
_UNROLL = 16
# The width of a strip, as a multiple of the typical k-th distance.
_STRIP_WIDTH = 7
# A sweep stops once at most this share of the samples is unfinished.
_MAX_UNFINISHED = 1 / 64
# Unfinished samples are completed in blocks of `_LANES`, by comparing them with
# chunks of `_CHUNK` candidates.
_LANES, _CHUNK = 64, 32


def count_in_pair(
  x: chex.Array, y: chex.Array, where: chex.Array, k: int
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Counts samples nearer in one variable than the k-th neighbour in both.

  "Nearer" is strict; the distance in both is `max(|Δx|, |Δy|)`. The algorithm:

  1. Cut the samples into strips of x, and compare each sample with those that
     are next to it in y within its strip (the sweep).
  2. Repeat with strips that are shifted by half their width. A sample is
     finished if its k-th distance lies inside the swept range of y and inside
     the strip: no sample outside can then be nearer.
  3. Compare the few unfinished samples with all candidates within their k-th
     distance so far.

  Args:
    x: `[B, N]`, finite.
    y: `[B, N]`, finite.
    where: `[B, N]` bool, the samples that count.
    k: number of neighbours, static.

  Returns:
    `[B, N]` counts in x, counts in y, and `where`; in each row, the samples are
    in the order of ascending x.
  """
  radius, in_order, where = _find_radius(x, y, where, k)
  # The counts include the sample itself, unless its radius is 0.
  nearer_x, nearer_y = (
    jnp.maximum(v - 1, 0) for v in _count_in_each(in_order, radius)
  )
  return nearer_x, nearer_y, where


def count_in_mixture(
  x: chex.Array, y: chex.Array, where: chex.Array, k: int
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array]:
  """Counts as `count_in_pair` does, and all equal samples where k are equal.

  Each sample counts itself. If the k-th neighbour is at distance 0, the samples
  at distance 0 are counted.

  Args:
    x: `[B, N]`, finite, without −0.
    y: `[B, N]`, finite, without −0.
    where: `[B, N]` bool, the samples that count.
    k: number of neighbours, static.

  Returns:
    `[B, N]` counts in x, in y, and in both, which is k where the k-th neighbour
    is not at distance 0; and `where`. The order is that of `count_in_pair`.
  """
  radius, in_order, where = _find_radius(x, y, where, k)
  tied = radius == 0
  # A radius above 0 counts the samples at distance 0.
  radius = jnp.maximum(radius, jnp.finfo(x.dtype).tiny)
  nearer_x, nearer_y = _count_in_each(in_order, radius)
  equal = _count_equal(in_order.x, in_order.y)
  return nearer_x, nearer_y, jnp.where(tied, equal, k), where


class _InOrder(NamedTuple):
  """Samples in the order of ascending x, then y; and y in its own order.

  Attributes:
    x: `[B, N]`, infinite where a sample does not count.
    y: `[B, N]`, paired with `x`.
    y_sorted: `[B, N]` or `[1, N]`, ascending.
    where_sorted: `[B, N]` or `[1, N]` bool, of `y_sorted`.
  """

  x: chex.Array
  y: chex.Array
  y_sorted: chex.Array
  where_sorted: chex.Array


def _find_radius(x, y, where, k):
  """Returns the k-th distance `[B, N]`, an `_InOrder` and `where` in order."""
  rows, n = max(x.shape[0], y.shape[0], where.shape[0]), x.shape[1]
  y_order = argsort(y)
  y = _take(y, y_order)
  where = _take(where, y_order)
  # A sample that does not count gets an infinite x: it is no one's neighbour.
  x = jnp.where(where, _take(x, y_order), jnp.inf)
  x = jnp.broadcast_to(x, (rows, n))
  x_order = argsort(x)
  x_sorted, y_by_x = _take(x, x_order), _take(y, x_order)
  y_by_y = jnp.broadcast_to(y, x.shape)

  bound, unfinished = _sweep_strips(x, y_by_y, x_order, x_sorted, k)
  unfinished &= where

  # An unfinished sample in a tail of x has few candidates near it in x; other
  # unfinished samples usually have fewer near them in y. Each sample is
  # completed in the order that gives it fewer candidates.
  bound_by_x = _take(bound, x_order)
  use_x = bound_by_x <= _reach(x_sorted, 2 * math.isqrt(k * n))
  use_x &= _take(unfinished, x_order)
  exact_by_x, exact = jnp.split(
    _complete(
      jnp.concatenate([x_sorted, y_by_y]),
      jnp.concatenate([y_by_x, x]),
      jnp.concatenate([bound_by_x, bound]),
      jnp.concatenate([use_x, unfinished & ~_put(use_x, x_order, n)]),
      k,
    ),
    2,
  )
  bound = jnp.minimum(exact_by_x, _take(exact, x_order))

  in_order = _InOrder(x_sorted, y_by_x, y, where)
  return neighbours.to_float(bound, x.dtype), in_order, _take(where, x_order)


def _count_in_each(samples, radius):
  """Counts the samples nearer than a radius in x and in y."""
  return (
    count_nearer(samples.x, samples.x, radius),
    count_nearer(samples.y_sorted, samples.y, radius, samples.where_sorted),
  )


def _count_equal(x, y):
  """Counts the samples equal to each one, which are next to each other."""
  n = x.shape[-1]
  index = lax.broadcasted_iota(jnp.int32, x.shape, 1)
  changes = (x[:, 1:] != x[:, :-1]) | (y[:, 1:] != y[:, :-1])
  starts = jnp.pad(changes, ((0, 0), (1, 0)), constant_values=True)
  ends = jnp.pad(changes, ((0, 0), (0, 1)), constant_values=True)
  start = lax.cummax(jnp.where(starts, index, 0), axis=1)
  end = lax.cummin(jnp.where(ends, index, n), axis=1, reverse=True)
  return end - start + 1


def count_in_class(
  x: chex.Array, labels: chex.Array, where: chex.Array, k: chex.Array, most: int
) -> chex.Array:
  """Counts samples nearer than the k-th neighbour of the same class.

  Like `vectors.count_in_class`, for finite x `[N]` and non-negative int32
  labels. No batch axis.
  """
  n = x.shape[0]
  x = jnp.where(where, x, jnp.inf)
  # Ordered by class, and by x within a class, the nearest `most` samples of the
  # same class are at most `most` places away.
  by_x = argsort(x[None])[0]
  order = by_x[argsort(labels[by_x][None])[0]]
  classes, values = labels[order], x[order]
  padded_classes = jnp.pad(classes, most, constant_values=-1)
  padded_values = jnp.pad(values, most)
  best = neighbours.init_lists((n,), x.dtype, most)
  for shift in (s for s in range(-most, most + 1) if s != 0):
    place = slice(most + shift, most + shift + n)
    distance = neighbours.bits(padded_values[place] - values)
    same = padded_classes[place] == classes
    distance = jnp.where(same, distance, neighbours.infinity(x.dtype))
    best = neighbours.insert(best, distance)
  bound = jnp.zeros_like(best[0]).at[order].set(neighbours.kth(best, k[order]))
  radius = neighbours.to_float(bound, x.dtype)
  # A radius above 0 counts the samples at distance 0.
  radius = jnp.maximum(radius, jnp.finfo(x.dtype).tiny)
  return count_nearer(x[by_x][None], x[None], radius[None])[0]


def count_nearer(
  table: chex.Array,
  centre: chex.Array,
  radius: chex.Array,
  where: chex.Array | None = None,
) -> chex.Array:
  """Counts the entries of a sorted table that are nearer than a radius.

  The rows of the `[B, N]` table ascend, `where` masks its entries, and the
  result is `[B, Q]`, for Q centres with a radius each.
  """
  # The search compares differences, which round as the distances did. Comparing
  # with centre ± radius could count the neighbour that defines the radius.
  first = _first(table, centre, lambda value: centre - value < radius)
  last = _first(table, centre, lambda value: value - centre >= radius)
  if where is not None:
    counted = jnp.cumsum(where.astype(jnp.int32), axis=-1)
    counted = jnp.pad(counted, ((0, 0), (1, 0)))
    first, last = _take(counted, first), _take(counted, last)
  return last - first


def argsort(x: chex.Array) -> chex.Array:
  """Sorts the indices of each row stably, much faster than `jnp.argsort`.

  x is `[B, N]` float32, float64 or int32.
  """
  keys = x
  if jnp.issubdtype(x.dtype, jnp.floating):
    magnitude = neighbours.bits(x)
    # The complement reverses the order of negative numbers and puts them below
    # positive ones, −0 below 0.
    keys = jnp.where(jnp.signbit(x), ~magnitude, magnitude)
  index = lax.broadcasted_iota(jnp.int32, x.shape, 1)
  if keys.dtype.itemsize > index.dtype.itemsize:
    return lax.sort((keys, index), num_keys=1, is_stable=True)[1]
  # Packing key (high half) and index (low half) into one integer makes the sort
  # four times as fast as sorting two arrays. Only these lines need 64 bits.
  with jax.enable_x64(True):
    packed = lax.bitcast_convert_type(jnp.stack([index, keys], -1), jnp.int64)
    ordered = lax.bitcast_convert_type(lax.sort(packed, dimension=1), jnp.int32)
  return ordered[..., 0]


def _sweep_strips(x, y, x_order, x_sorted, k):
  """Sweeps within strips of x, for two cuts; rows of `x` and `y` ascend in y.

  Returns `[B, N]` upper bounds of the k-th distance, and a mask of the samples
  whose bound may not be exact (unfinished).
  """
  rows, n = x.shape
  num_strips = max(1, math.isqrt(n // k) // _STRIP_WIDTH)
  length = 2 * -(-n // (2 * num_strips))
  cuts = (0, length // 2) if num_strips > 1 else (0,)
  strips = [_cut(x_order, x_sorted, length, before) for before in cuts]
  places, below, above = (
    jnp.concatenate(v, axis=1) for v in zip(*strips, strict=True)
  )

  def in_strips(values):
    values = jnp.pad(values, ((0, 0), (0, 1)), constant_values=jnp.inf)
    return _take(values, places.reshape(rows, -1)).reshape(-1, length)

  x, y = in_strips(x), in_strips(y)
  longest = min(length - 1, 2 * math.isqrt(k * n) // num_strips)
  bound, unfinished = _sweep(x, y, longest, k)
  below, above = below.reshape(-1, 1), above.reshape(-1, 1)
  edge = jnp.minimum(neighbours.bits(x - below), neighbours.bits(above - x))
  # A sample outside the strip is at least as far away as the edge.
  unfinished |= bound > edge

  ends = [places_of_cut.shape[1] for places_of_cut, _, _ in strips[:-1]]

  def merge_cuts(values, combine):
    """Combines the values `[B, N]` of both cuts, back in the order of y."""
    values = values.reshape(places.shape)
    pieces = [jnp.split(v, ends, axis=1) for v in (values, places)]
    by_cut = [
      _put(v.reshape(rows, -1), place.reshape(rows, -1), n)
      for v, place in zip(*pieces, strict=True)
    ]
    return functools.reduce(combine, by_cut)

  return merge_cuts(bound, jnp.minimum), merge_cuts(unfinished, jnp.logical_and)


def _cut(x_order, x_sorted, length, before):
  """Cuts each row into P strips of `length` samples along x.

  `x_order` `[B, N]` are places in order of ascending x, `x_sorted` the values;
  `before` places are left empty at the start of the first strip. Returns
  `[B, P, L]` ascending places, N where empty; and `[B, P]` values of x next to
  each strip, below and above.
  """
  n = x_order.shape[-1]
  after = -(n + before) % length
  rows = x_order.shape[0]
  # Places number the samples in the order of y, so sorting the places of a
  # strip sorts it by y.
  places = jnp.pad(x_order, ((0, 0), (before, after)), constant_values=n)
  places = jnp.sort(places.reshape(rows, -1, length), axis=-1)
  outside = jnp.pad(
    x_sorted,
    ((0, 0), (before + 1, after + 1)),
    constant_values=((0, 0), (-jnp.inf, jnp.inf)),
  )
  return places, outside[:, :-2:length], outside[:, length + 1 :: length]


def _sweep(x, y, longest, k):
  """Compares samples of rows that ascend in y, up to `longest` places apart.

  Returns `[B, L]` upper bounds of the k-th distance within the row, and a mask
  of the samples whose bound may not be exact.
  """
  rows, n = x.shape
  margin = _UNROLL * (-(-longest // _UNROLL) + 1)
  far = jnp.full((rows, margin), jnp.inf, y.dtype)
  y_padded = jnp.concatenate([-far, y, far], axis=-1)
  x_padded = jnp.pad(x, ((0, 0), (margin, margin)))
  counted = x < jnp.inf

  def shifted(padded, shift):
    return lax.dynamic_slice_in_dim(padded, margin + shift, n, axis=-1)

  def step(carry):
    shift, best, _ = carry
    for s in range(_UNROLL):
      for signed in (shift + s, -shift - s):
        dx = neighbours.bits(shifted(x_padded, signed) - x)
        dy = neighbours.bits(shifted(y_padded, signed) - y)
        best = neighbours.insert(best, jnp.maximum(dx, dy))
    # Samples that are not compared yet are at least as far in y as the last
    # shift: a k-th distance up to that is exact.
    last = shift + _UNROLL - 1
    swept = jnp.minimum(
      neighbours.bits(shifted(y_padded, last) - y),
      neighbours.bits(shifted(y_padded, -last) - y),
    )
    return shift + _UNROLL, best, counted & (best[-1] > swept)

  def needs_step(carry):
    shift, _, unfinished = carry
    return (shift <= longest) & (
      jnp.sum(unfinished) > int(_MAX_UNFINISHED * x.size)
    )

  best = neighbours.init_lists(x.shape, x.dtype, k)
  _, best, unfinished = lax.while_loop(
    needs_step, step, (jnp.int32(1), best, counted)
  )
  return best[-1], unfinished


def _complete(x, y, bound, unfinished, k):
  """Computes the exact k-th distances `[B, N]` of unfinished samples.

  Rows ascend in x. Blocks of unfinished samples, which are close in x, are
  compared with the chunks of candidates that lie within their bounds. The
  bounds of finished samples are kept.
  """
  rows, n = x.shape
  pad = ((0, 0), (0, -n % _CHUNK))
  x = jnp.pad(x, pad, constant_values=jnp.inf).reshape(-1, _CHUNK)
  y, bound, unfinished = (
    jnp.pad(v, pad).ravel() for v in (y, bound, unfinished)
  )
  y = y.reshape(x.shape)
  row_of_chunk = jnp.arange(x.shape[0]) // (x.shape[0] // rows)
  infinite = neighbours.infinity(x.dtype)
  # A binary search in the running count of unfinished samples gives the place
  # of the i-th of them.
  counts = jnp.cumsum(unfinished.astype(jnp.int32))
  lanes = jnp.arange(_LANES)

  def complete_block(carry):
    start, bound = carry
    wanted = start + 1 + lanes[None]
    place = _first(counts[None], wanted, lambda value: value >= wanted)[0]
    block_x, block_y, reach = (v.ravel()[place] for v in (x, y, bound))
    row = row_of_chunk[place // _CHUNK]
    gap = jnp.maximum(x[:, :1] - block_x, block_x - x[:, -1:])
    near = gap < neighbours.to_float(reach, x.dtype)
    near &= (row_of_chunk[:, None] == row) & (place < x.size)
    near = jnp.any(near, axis=-1)
    (chunks,) = jnp.nonzero(near, size=near.size)

    def compare(i, best):
      chunk = chunks[i]
      other_x, other_y = (lax.dynamic_index_in_dim(v, chunk)[0] for v in (x, y))
      # Samples of another row are infinitely far away.
      row_y = jnp.where(row_of_chunk[chunk] == row, block_y, jnp.inf)
      for j in range(_CHUNK):
        dx = neighbours.bits(other_x[j] - block_x)
        dy = neighbours.bits(other_y[j] - row_y)
        is_self = place == chunk * _CHUNK + j
        distance = jnp.where(is_self, infinite, jnp.maximum(dx, dy))
        best = neighbours.insert(best, distance)
      return best

    best = neighbours.init_lists((_LANES,), x.dtype, k)
    best = lax.fori_loop(0, jnp.sum(near), compare, best)
    exact = jnp.minimum(reach, best[-1])
    return start + _LANES, bound.at[place].set(exact, mode="drop")

  _, bound = lax.while_loop(
    lambda carry: carry[0] < counts[-1], complete_block, (jnp.int32(0), bound)
  )
  return bound.reshape(rows, -1)[:, :n]


def _reach(x, places):
  """Returns how far in x a window of `places` on both sides reaches at least.

  x is `[B, N]`, ascending; the result is `[B, N]` distances.
  """
  n = x.shape[-1]
  places = min(places, n)
  padded = jnp.pad(x, ((0, 0), (places, places)), constant_values=jnp.inf)
  below, above = padded[:, :n], padded[:, -n:]
  return jnp.minimum(neighbours.bits(x - below), neighbours.bits(above - x))


def _first(table, like, past):
  """Finds the first index in each ascending row where `past(value)` is True.

  `like` has the shape of the result; a row without such a value gives N.
  """
  n = table.shape[-1]
  steps = n.bit_length()

  def halve(i, low):
    middle = low + (jnp.int32(1) << (steps - 1 - i))
    value = _take(table, jnp.minimum(middle, n) - 1)
    return jnp.where((middle <= n) & ~past(value), middle, low)

  return lax.fori_loop(0, steps, halve, jnp.zeros(like.shape, jnp.int32))


def _take(values, index):
  """Returns the values `[B, N]` at `[B, Q]` indices, which must be valid."""
  return jnp.take_along_axis(values, index, -1, mode="promise_in_bounds")


def _put(values, index, n):
  """Inverts `_take`: writes values to `[B, n]`; index n drops a value."""
  put = jax.vmap(lambda v, i: jnp.zeros(n, v.dtype).at[i].set(v, mode="drop"))
  return put(values, index)
