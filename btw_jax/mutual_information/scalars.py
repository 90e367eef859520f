"""Nearest neighbours of scalars: sorted, then compared by shifting arrays.

Memory is O(kN). Time is O(N log N) for smooth densities and never more than a
constant times N². Arrays are rows, `[B, N]`, any of them `[1, N]` where all
rows share it: what rows share is sorted once.
"""

import functools
import math

import chex
import jax
from jax import lax
import jax.numpy as jnp

from btw_jax.mutual_information import neighbours

# Shifts in one turn of a loop: fewer are bound by what a turn costs, more by
# what they compile to.
_UNROLL = 16
# Strips are about this many times as wide as the typical k-th distance.
_STRIP_WIDTH = 7
# A sweep ends early where no more than this share of the samples needs it.
_STRAGGLERS = 1 / 64
# Stragglers are finished this many at a time, against chunks of candidates.
_LANES, _CHUNK = 64, 32


def count_in_pair(
  x: chex.Array, y: chex.Array, where: chex.Array, k: int
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Samples strictly nearer in one variable than the k-th in both.

  The distance in both is `max(|Δx|, |Δy|)`. Samples are cut into strips of x,
  each strip is swept in the order of y, and the strips are then cut anew with
  their edges moved by half: a sample whose k-th distance stays inside what was
  swept, and inside its strip, is finished. The few left are compared with all
  that their distances so far can reach.

  Args:
    x: `[B, N]` finite.
    y: `[B, N]` finite.
    where: `[B, N]` bool, the samples that count.
    k: neighbours, static.

  Returns:
    `[B, N]` counts in x, counts in y, and whether the sample counts, with the
    samples of a row in ascending x.
  """
  rows, n = max(x.shape[0], y.shape[0], where.shape[0]), x.shape[1]
  y_order = argsort(y)
  y = _take(y, y_order)
  where = _take(where, y_order)
  # An infinite x keeps a sample from being anybody's neighbour.
  x = jnp.where(where, _take(x, y_order), jnp.inf)
  x = jnp.broadcast_to(x, (rows, n))
  x_order = argsort(x)
  x_sorted, y_by_x = _take(x, x_order), _take(y, x_order)
  everywhere = jnp.broadcast_to(y, x.shape)

  bound, left = _sweep_strips(x, everywhere, x_order, x_sorted, k)
  left &= where

  # Stragglers in the tails of x have few others beside them in x, most of the
  # rest in y: each is finished in the order where it has fewer.
  bound_by_x = _take(bound, x_order)
  beside = bound_by_x <= _reach(x_sorted, 2 * math.isqrt(k * n))
  beside &= _take(left, x_order)
  exact_by_x, exact = jnp.split(
    _finish(
      jnp.concatenate([x_sorted, everywhere]),
      jnp.concatenate([y_by_x, x]),
      jnp.concatenate([bound_by_x, bound]),
      jnp.concatenate([beside, left & ~_put(beside, x_order, n)]),
      k,
    ),
    2,
  )
  bound = jnp.minimum(exact_by_x, _take(exact, x_order))

  radius = neighbours.to_float(bound, x.dtype)
  nearer_x = count_nearer(x_sorted, x_sorted, radius)
  nearer_y = count_nearer(y, y_by_x, radius, where)
  # Each sample is within its own radius, if that is not 0.
  nearer_x, nearer_y = (jnp.maximum(v - 1, 0) for v in (nearer_x, nearer_y))
  return nearer_x, nearer_y, _take(where, x_order)


def count_in_class(
  x: chex.Array, labels: chex.Array, where: chex.Array, k: chex.Array, most: int
) -> chex.Array:
  """Samples strictly nearer than the k-th of the same class, itself among them.

  Args:
    x: `[N]` finite.
    labels: `[N]` non-negative int32.
    where: `[N]` bool, the samples that count.
    k: `[N]` int, neighbours of each sample, at most `most`.
    most: static.

  Returns:
    `[N]` int. Where the k-th coincides with the sample, all that do.
  """
  n = x.shape[0]
  x = jnp.where(where, x, jnp.inf)
  # By class, and by x within it: the nearest are at most `most` places away.
  by_x = argsort(x[None])[0]
  order = by_x[argsort(labels[by_x][None])[0]]
  classes, values = labels[order], x[order]
  padded_classes = jnp.pad(classes, most, constant_values=-1)
  padded_values = jnp.pad(values, most)
  best = neighbours.none_yet((n,), x.dtype, most)
  for shift in (s for s in range(-most, most + 1) if s != 0):
    place = slice(most + shift, most + shift + n)
    distance = neighbours.bits(padded_values[place] - values)
    same = padded_classes[place] == classes
    distance = jnp.where(same, distance, neighbours.infinity(x.dtype))
    best = neighbours.insert(best, distance)
  bound = jnp.zeros_like(best[0]).at[order].set(neighbours.kth(best, k[order]))
  radius = neighbours.to_float(bound, x.dtype)
  radius = jnp.maximum(radius, jnp.finfo(x.dtype).tiny)
  return count_nearer(x[by_x][None], x[None], radius[None])[0]


def count_nearer(
  table: chex.Array,
  centre: chex.Array,
  radius: chex.Array,
  where: chex.Array | None = None,
) -> chex.Array:
  """Entries of a sorted table that are strictly nearer than a radius.

  Differences are rounded as the distances were, lest the neighbour that set
  the radius be counted by a rounding.

  Args:
    table: `[B, N]`, rows ascending.
    centre: `[B, Q]`.
    radius: `[B, Q]`.
    where: `[B, N]` bool, the entries that count; all by default.

  Returns:
    `[B, Q]` int.
  """
  first = _first(table, centre, lambda value: centre - value < radius)
  last = _first(table, centre, lambda value: value - centre >= radius)
  if where is not None:
    counted = jnp.cumsum(where.astype(jnp.int32), axis=-1)
    counted = jnp.pad(counted, ((0, 0), (1, 0)))
    first, last = _take(counted, first), _take(counted, last)
  return last - first


def argsort(x: chex.Array) -> chex.Array:
  """The stable order of each row, several times faster than `jnp.argsort`.

  Args:
    x: `[B, N]` float32 or float64, or int32.

  Returns:
    `[B, N]` int32.
  """
  keys = x
  if jnp.issubdtype(x.dtype, jnp.floating):
    magnitude = neighbours.bits(x)
    # Ones' complement: negative numbers below positive ones, −0 below 0.
    keys = jnp.where(jnp.signbit(x), ~magnitude, magnitude)
  index = lax.broadcasted_iota(jnp.int32, x.shape, 1)
  if keys.dtype.itemsize > index.dtype.itemsize:
    return lax.sort((keys, index), num_keys=1, is_stable=True)[1]
  # Key and place as one integer, its low half first: sorting one array takes a
  # quarter of the time of sorting two. These two lines alone need 64 bits.
  with jax.enable_x64(True):
    both = lax.bitcast_convert_type(jnp.stack([index, keys], -1), jnp.int64)
    ordered = lax.bitcast_convert_type(lax.sort(both, dimension=1), jnp.int32)
  return ordered[..., 0]


def _sweep_strips(x, y, x_order, x_sorted, k):
  """Sweeps within strips of x; rows of `x` and `y` ascend in y.

  Returns:
    `[B, N]` bits of bounds of the k-th distance, and where it may be smaller.
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
  bound, left = _sweep(x, y, longest, k)
  below, above = below.reshape(-1, 1), above.reshape(-1, 1)
  edge = jnp.minimum(neighbours.bits(x - below), neighbours.bits(above - x))
  left |= bound > edge

  ends = [places_of_cut.shape[1] for places_of_cut, _, _ in strips[:-1]]

  def collect(values, combine):
    """What the cuts found of every sample, combined, in the order of y."""
    values = values.reshape(places.shape)
    pieces = [jnp.split(v, ends, axis=1) for v in (values, places)]
    each = [
      _put(v.reshape(rows, -1), place.reshape(rows, -1), n)
      for v, place in zip(*pieces, strict=True)
    ]
    return functools.reduce(combine, each)

  return collect(bound, jnp.minimum), collect(left, jnp.logical_and)


def _cut(x_order, x_sorted, length, before):
  """Cuts each row into S strips of equal length along x.

  Args:
    x_order: `[B, N]` places of ascending x.
    x_sorted: `[B, N]`.
    length: L, samples in a strip.
    before: places left empty in the first one.

  Returns:
    `[B, S, L]` ascending places, an n where empty; and the nearest x outside
    of each strip, `[B, S]`, below and above.
  """
  n = x_order.shape[-1]
  after = -(n + before) % length
  rows = x_order.shape[0]
  # Places are in the order of y: a sort of them orders a strip by y.
  places = jnp.pad(x_order, ((0, 0), (before, after)), constant_values=n)
  places = jnp.sort(places.reshape(rows, -1, length), axis=-1)
  outside = jnp.pad(
    x_sorted,
    ((0, 0), (before + 1, after + 1)),
    constant_values=((0, 0), (-jnp.inf, jnp.inf)),
  )
  return places, outside[:, :-2:length], outside[:, length + 1 :: length]


def _sweep(x, y, longest, k):
  """Sweeps rows that ascend in y, up to `longest` places away.

  Returns:
    `[B, L]` bits of bounds of the k-th distance in the row, and where it may
    be smaller.
  """
  rows, n = x.shape
  margin = _UNROLL * (-(-longest // _UNROLL) + 1)
  far = jnp.full((rows, margin), jnp.inf, y.dtype)
  y_padded = jnp.concatenate([-far, y, far], axis=-1)
  x_padded = jnp.pad(x, ((0, 0), (margin, margin)))
  counted = x < jnp.inf

  def moved(padded, shift):
    return lax.dynamic_slice_in_dim(padded, margin + shift, n, axis=-1)

  def turn(carry):
    shift, best, _ = carry
    for s in range(_UNROLL):
      for signed in (shift + s, -shift - s):
        dx = neighbours.bits(moved(x_padded, signed) - x)
        dy = neighbours.bits(moved(y_padded, signed) - y)
        best = neighbours.insert(best, jnp.maximum(dx, dy))
    last = shift + _UNROLL - 1
    swept = jnp.minimum(
      neighbours.bits(moved(y_padded, last) - y),
      neighbours.bits(moved(y_padded, -last) - y),
    )
    return shift + _UNROLL, best, counted & (best[-1] > swept)

  def unfinished(carry):
    shift, _, left = carry
    return (shift <= longest) & (jnp.sum(left) > int(_STRAGGLERS * x.size))

  best = neighbours.none_yet(x.shape, x.dtype, k)
  _, best, left = lax.while_loop(
    unfinished, turn, (jnp.int32(1), best, counted)
  )
  return best[-1], left


def _finish(x, y, bound, left, k):
  """The exact k-th distances of the samples left; rows ascend in x.

  Blocks of them, near each other in x, are compared with the chunks of
  candidates that their bounds reach.

  Returns:
    `[B, N]` bits of the k-th distance.
  """
  rows, n = x.shape
  pad = ((0, 0), (0, -n % _CHUNK))
  x = jnp.pad(x, pad, constant_values=jnp.inf).reshape(-1, _CHUNK)
  y, bound, left = (jnp.pad(v, pad).ravel() for v in (y, bound, left))
  y = y.reshape(x.shape)
  row_of_chunk = jnp.arange(x.shape[0]) // (x.shape[0] // rows)
  infinite = neighbours.infinity(x.dtype)
  # So many are left up to each place; of those, block by block.
  so_far = jnp.cumsum(left.astype(jnp.int32))
  lanes = jnp.arange(_LANES)

  def block(carry):
    start, bound = carry
    wanted = start + 1 + lanes[None]
    place = _first(so_far[None], wanted, lambda value: value >= wanted)[0]
    own_x, own_y, reach = (v.ravel()[place] for v in (x, y, bound))
    row = row_of_chunk[place // _CHUNK]
    gap = jnp.maximum(x[:, :1] - own_x, own_x - x[:, -1:])
    near = gap < neighbours.to_float(reach, x.dtype)
    near &= (row_of_chunk[:, None] == row) & (place < x.size)
    near = jnp.any(near, axis=-1)
    (chunks,) = jnp.nonzero(near, size=near.size)

    def compare(i, best):
      chunk = chunks[i]
      other_x, other_y = (lax.dynamic_index_in_dim(v, chunk)[0] for v in (x, y))
      # Those of another row are infinitely far.
      here = jnp.where(row_of_chunk[chunk] == row, own_y, jnp.inf)
      for j in range(_CHUNK):
        dx = neighbours.bits(other_x[j] - own_x)
        dy = neighbours.bits(other_y[j] - here)
        itself = place == chunk * _CHUNK + j
        distance = jnp.where(itself, infinite, jnp.maximum(dx, dy))
        best = neighbours.insert(best, distance)
      return best

    best = neighbours.none_yet((_LANES,), x.dtype, k)
    best = lax.fori_loop(0, jnp.sum(near), compare, best)
    exact = jnp.minimum(reach, best[-1])
    return start + _LANES, bound.at[place].set(exact, mode="drop")

  _, bound = lax.while_loop(
    lambda carry: carry[0] < so_far[-1], block, (jnp.int32(0), bound)
  )
  return bound.reshape(rows, -1)[:, :n]


def _reach(x, places):
  """Bits of the distance to the nearer end of so many places to each side."""
  n = x.shape[-1]
  places = min(places, n)
  padded = jnp.pad(x, ((0, 0), (places, places)), constant_values=jnp.inf)
  below, above = padded[:, :n], padded[:, -n:]
  return jnp.minimum(neighbours.bits(x - below), neighbours.bits(above - x))


def _first(table, like, past):
  """Index of the first entry of each ascending row for which `past` holds."""
  n = table.shape[-1]
  steps = n.bit_length()

  def halve(i, low):
    middle = low + (jnp.int32(1) << (steps - 1 - i))
    value = _take(table, jnp.minimum(middle, n) - 1)
    return jnp.where((middle <= n) & ~past(value), middle, low)

  return lax.fori_loop(0, steps, halve, jnp.zeros(like.shape, jnp.int32))


def _take(values, index):
  return jnp.take_along_axis(values, index, -1, mode="promise_in_bounds")


def _put(values, index, n):
  """The inverse of `_take`; an index of n drops its value."""
  put = jax.vmap(lambda v, i: jnp.zeros(n, v.dtype).at[i].set(v, mode="drop"))
  return put(values, index)
