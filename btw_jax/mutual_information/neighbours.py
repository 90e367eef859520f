"""Running lists of the k smallest distances, compared as integers.

Non-negative floats have the same order as their bits read as integers. The
minimum of integers is one instruction; that of floats, which must propagate
NaN, is three.
"""

from collections.abc import Sequence

import chex
from jax import lax
import jax.numpy as jnp


def bits(x: chex.Array) -> chex.Array:
  """Converts floats to integers in the order of `|x|`; NaN is the largest.

  Float32 becomes int32, and float64 becomes int64.
  """
  integer = {4: jnp.int32, 8: jnp.int64}[x.dtype.itemsize]
  return lax.bitcast_convert_type(jnp.abs(x), integer)


def to_float(x: chex.Array, dtype: chex.ArrayDType) -> chex.Array:
  """Inverts `bits`; `dtype` is the floating dtype of the result."""
  return lax.bitcast_convert_type(x, dtype)


def infinity(dtype: chex.ArrayDType) -> chex.Array:
  """Returns the bits of an infinite distance of a floating dtype."""
  return bits(jnp.asarray(jnp.inf, dtype))


def init_lists(
  shape: Sequence[int], dtype: chex.ArrayDType, k: int
) -> list[chex.Array]:
  """Returns k arrays of infinite distances: the lists before any `insert`."""
  return [jnp.full(shape, infinity(dtype))] * k


def insert(best: Sequence[chex.Array], value: chex.Array) -> list[chex.Array]:
  """Inserts a value into ascending lists and drops the largest, elementwise.

  Args:
    best: k arrays `[...]`, ascending along the list.
    value: `[...]`.

  Returns:
    k arrays `[...]`, ascending along the list.
  """
  kept = []
  for smaller in best:
    kept.append(jnp.minimum(smaller, value))
    value = jnp.maximum(smaller, value)
  return kept


def kth(best: Sequence[chex.Array], k: chex.Array) -> chex.Array:
  """Returns the k-th entry of each list, with `[...]` k from 1."""
  return jnp.take_along_axis(jnp.stack(best), (k - 1)[None], axis=0)[0]
