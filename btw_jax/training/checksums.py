"""Checksums of arrays, whichever host or device holds them."""

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
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): "".join(
      f"{int(part):08x}" for part in sums(leaf)
    )
    for path, leaf in leaves
  }


def sums(x: chex.Array) -> list[chex.Array]:
  """Computes both sums of an array.

  They are computed on the host, where nothing is compiled, or by all processes
  together if none of them has the whole array.
  """
  if isinstance(x, jax.Array) and not x.is_fully_addressable:
    return sums_on_devices(x)
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  x = np.ascontiguousarray(x).reshape(-1)
  words = x.view(_UNSIGNED.get(x.itemsize, np.uint32)).astype(np.uint32)
  return _sum_words(words, np.arange(words.size, dtype=np.uint32))


def differing(before: dict[str, str], tree: chex.ArrayTree) -> list[str]:
  """Lists the arrays of a tree that differ from what `of_tree` gave before."""
  after = of_tree(tree)
  return [name for name in after if before.get(name) != after[name]]


@jax.jit
def sums_on_devices(x: chex.Array) -> list[chex.Array]:
  """Computes `sums` of an array on the devices that hold it."""
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  x = x.astype(jnp.uint8) if x.dtype == bool else x
  unsigned = _UNSIGNED.get(x.dtype.itemsize, np.uint32)
  words = lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)
  return _sum_words(words, _positions(words.shape))


def _sum_words(words, positions):
  return [
    (words * _factors(positions, m)).sum(dtype=np.uint32) for m in _MULTIPLIERS
  ]


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
