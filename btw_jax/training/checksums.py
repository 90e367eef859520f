"""Checksums of arrays, computed on the devices that hold them."""

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Two sums with other factors make a checksum of 64 bits.
_MULTIPLIERS = (0x9E3779B1, 0x85EBCA77)
# Bytes of a short type -> its words; those of other types have four bytes.
_UNSIGNED = {1: np.uint8, 2: np.uint16}


def of_tree(tree: chex.ArrayTree) -> dict[str, str]:
  """Computes a checksum of every array of a tree.

  A checksum is `Σ_i w_i f_i` modulo 2³² of the words w of an array, for two
  sequences of odd factors f. A change of one word, such as a flipped bit,
  always changes it. It is the same on any number of devices.

  Args:
    tree: arrays of JAX or NumPy.

  Returns:
    Path of the array in the tree -> checksum, 16 hexadecimal digits.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  words = [_as_words(leaf) for _, leaf in leaves]
  sums = jax.device_get(_sums(words))
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): "".join(
      f"{int(part):08x}" for part in parts
    )
    for (path, _), parts in zip(leaves, sums, strict=True)
  }


def differing(before: dict[str, str], tree: chex.ArrayTree) -> list[str]:
  """Lists the arrays of a tree that differ from what `of_tree` gave before."""
  after = of_tree(tree)
  return [name for name in after if before.get(name) != after[name]]


def _as_words(x):
  """Views an array of NumPy as words: JAX would round float64 and int64."""
  if isinstance(x, jax.Array):
    return x
  x = np.ascontiguousarray(x).reshape(-1)
  return x.view(_UNSIGNED.get(x.itemsize, np.uint32))


@jax.jit
def _sums(arrays):
  return [_sum_words(x) for x in arrays]


def _sum_words(x):
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  if x.dtype == bool or x.dtype.itemsize < 4:
    x = x.astype(jnp.uint8) if x.dtype == bool else x
    words = lax.bitcast_convert_type(x, _UNSIGNED[x.dtype.itemsize])
    words = words.astype(jnp.uint32)
  else:
    words = lax.bitcast_convert_type(x, jnp.uint32)
  positions = _positions(words.shape)
  return [jnp.sum(words * _factors(positions, m)) for m in _MULTIPLIERS]


def _positions(shape):
  """Returns the position of every word; sharded as the words are."""
  positions = jnp.zeros(shape, jnp.uint32)
  for axis, size in enumerate(shape):
    positions = positions * np.uint32(size) + lax.broadcasted_iota(
      jnp.uint32, shape, axis
    )
  return positions


def _factors(positions, multiplier):
  """Returns factors that are odd: their products with 2^b are not 0."""
  mixed = (positions + np.uint32(1)) * np.uint32(multiplier)
  mixed ^= mixed >> 15
  return mixed * np.uint32(0x2C1B3C6D) | np.uint32(1)
