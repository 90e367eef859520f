"""Running lists of the k smallest distances, compared as integers.

The bits of a non-negative float order as it does, and the minimum of integers
is one instruction where that of floats, which must hand NaN on, is three.
"""

from collections.abc import Sequence

import chex
from jax import lax
import jax.numpy as jnp


def bits(x: chex.Array) -> chex.Array:
  """Integers that order as `|x|` does, NaN after infinity.

  Args:
    x: `[...]` float32 or float64.

  Returns:
    `[...]` int32 or int64.
  """
  integer = {4: jnp.int32, 8: jnp.int64}[x.dtype.itemsize]
  return lax.bitcast_convert_type(jnp.abs(x), integer)


def to_float(x: chex.Array, dtype: chex.ArrayDType) -> chex.Array:
  """The inverse of `bits`.

  Args:
    x: `[...]` int32 or int64.
    dtype: the floating dtype they came from.

  Returns:
    `[...]` of that dtype.
  """
  return lax.bitcast_convert_type(x, dtype)


def infinity(dtype: chex.ArrayDType) -> chex.Array:
  """The bits of an infinite distance.

  Args:
    dtype: floating dtype of the distances.

  Returns:
    Scalar integer.
  """
  return bits(jnp.asarray(jnp.inf, dtype))


def none_yet(
  shape: Sequence[int], dtype: chex.ArrayDType, k: int
) -> list[chex.Array]:
  """Lists before the first distance: k infinite ones.

  Args:
    shape: of the samples.
    dtype: floating dtype of the distances.
    k: neighbours, static.

  Returns:
    k arrays of `shape`.
  """
  return [jnp.full(shape, infinity(dtype))] * k


def insert(best: Sequence[chex.Array], value: chex.Array) -> list[chex.Array]:
  """The k smallest of k ascending values and one more, elementwise.

  Args:
    best: k arrays `[...]`, ascending.
    value: `[...]`.

  Returns:
    k arrays `[...]`, ascending.
  """
  kept = []
  for smaller in best:
    kept.append(jnp.minimum(smaller, value))
    value = jnp.maximum(smaller, value)
  return kept


def kth(best: Sequence[chex.Array], k: chex.Array) -> chex.Array:
  """The k-th smallest, where k differs between samples.

  Args:
    best: arrays `[...]`, ascending.
    k: `[...]` int, from 1.

  Returns:
    `[...]`.
  """
  return jnp.take_along_axis(jnp.stack(best), (k - 1)[None], axis=0)[0]
