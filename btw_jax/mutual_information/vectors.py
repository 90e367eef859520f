"""Nearest neighbours of vectors: every sample is shifted once past every other.

O(N²) time, O(N) memory: one shift is held at a time, never the matrix.
"""

from collections.abc import Callable, Sequence
import functools

import chex
from jax import lax
import jax.numpy as jnp

from btw_jax.mutual_information import neighbours

# Shifts in one turn of a loop.
_UNROLL = 16


def count_in_pair(
  x: chex.Array, y: chex.Array, where: chex.Array, k: int
) -> tuple[chex.Array, chex.Array]:
  """Samples strictly nearer in one variable than the k-th in both.

  Distances are maximum norms, of x, of y and of the two together.

  Args:
    x: `[N, D]`.
    y: `[N, D]`, its D may differ.
    where: `[N]` bool, the samples that count.
    k: neighbours, static.

  Returns:
    `[N]` counts in x, and in y.
  """
  distances = [_distance(v, where) for v in (x, y)]

  def nearest(best, shift):
    both = [distance(shift) for distance in distances]
    return neighbours.insert(best, jnp.maximum(*both))

  n = x.shape[0]
  best = neighbours.none_yet((n,), x.dtype, k)
  *_, bound = _over_shifts(nearest, best, n)

  def count(counts, shift):
    return [
      counted + (distance(shift) < bound)
      for counted, distance in zip(counts, distances, strict=True)
    ]

  nearer_x, nearer_y = _over_shifts(count, [jnp.zeros(n, jnp.int32)] * 2, n)
  return nearer_x, nearer_y


def count_in_class(
  x: chex.Array, labels: chex.Array, where: chex.Array, k: chex.Array, most: int
) -> chex.Array:
  """Samples strictly nearer than the k-th of the same class, itself among them.

  Args:
    x: `[N, D]`.
    labels: `[N]` int.
    where: `[N]` bool, the samples that count.
    k: `[N]` int, neighbours of each sample, at most `most`.
    most: static.

  Returns:
    `[N]` int. Where the k-th coincides with the sample, all that do.
  """
  distance = _distance(x, where)
  twice = jnp.tile(labels, 2)
  n = x.shape[0]

  def nearest(best, shift):
    same = lax.dynamic_slice(twice, (shift,), (n,)) == labels
    infinite = neighbours.infinity(x.dtype)
    return neighbours.insert(best, jnp.where(same, distance(shift), infinite))

  best = neighbours.none_yet((n,), x.dtype, most)
  bound = neighbours.kth(_over_shifts(nearest, best, n), k)
  bound = jnp.maximum(bound, neighbours.bits(jnp.finfo(x.dtype).tiny))

  def count(counts, shift):
    return [counts[0] + (distance(shift) < bound)]

  (nearer,) = _over_shifts(count, [jnp.ones(n, jnp.int32)], n)
  return nearer


def _distance(x, where) -> Callable[[chex.Array], chex.Array]:
  """Bits of each sample's distance to the one so many places on, cyclically."""
  # An infinite sample is nobody's neighbour.
  columns = jnp.where(where[:, None], x, jnp.inf).T
  twice = jnp.tile(columns, (1, 2))

  def distance(shift):
    n = x.shape[0]
    moved = lax.dynamic_slice_in_dim(twice, shift, n, axis=-1)
    return jnp.max(neighbours.bits(moved - columns), axis=0)

  return distance


def _over_shifts(
  function: Callable[[Sequence[chex.Array], chex.Array], Sequence[chex.Array]],
  carry: Sequence[chex.Array],
  n: int,
) -> Sequence[chex.Array]:
  """Folds `function(carry, shift)` over the shifts 1 to n − 1."""
  turns, rest = divmod(n - 1, _UNROLL)

  def turn(i, carry):
    shifts = [1 + i * _UNROLL + s for s in range(_UNROLL)]
    return functools.reduce(function, shifts, carry)

  carry = lax.fori_loop(0, turns, turn, carry)
  return lax.fori_loop(n - rest, n, lambda s, c: function(c, s), carry)
