"""Random bits of JAX's default generator, as one loop over all of them.

The numbers are those of `jax.random`. On CPU, JAX computes its generator round
by round, each over arrays in memory; here all rounds of a number are one
expression, which XLA keeps in registers: an eighth of the time for the dropout
masks of a small batch, and less to compile.
"""

import chex
import jax
import jax.numpy as jnp

_IMPLEMENTATION = "threefry2x32"
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def fold_in(key: chex.PRNGKey, data: chex.Array) -> chex.PRNGKey:
  """Folds integers into keys, as `jax.random.fold_in` does into one key.

  Args:
    key: a typed key, or an array of keys.
    data: 32-bit integers, broadcast against the keys.

  Returns:
    Keys of the common shape.
  """
  data = jnp.asarray(data)
  if not _is_ours(key):
    shape = jnp.broadcast_shapes(key.shape, data.shape)
    pairs = jnp.broadcast_to(key, shape), jnp.broadcast_to(data, shape)
    return jnp.vectorize(jax.random.fold_in)(*pairs)
  data = data.astype(jnp.uint32)
  words = _hash(_words(key), (jnp.zeros_like(data), data))
  return jax.random.wrap_key_data(
    jnp.stack(words, axis=-1), impl=_IMPLEMENTATION
  )


def bits(key: chex.PRNGKey, num_words: int) -> chex.Array:
  """Draws random bits, as `jax.random.bits` does for one key.

  Args:
    key: a typed key, or an array of keys `[...]`.
    num_words: number of words for each key, static.

  Returns:
    `[..., num_words]` uint32.
  """
  if not _is_ours(key):
    draw = jnp.vectorize(
      lambda key: jax.random.bits(key, (num_words,), jnp.uint32),
      signature="()->(n)",
    )
    return draw(key)
  count = jnp.arange(num_words, dtype=jnp.uint32)
  key_words = tuple(word[..., None] for word in _words(key))
  first, second = _hash(key_words, (jnp.zeros_like(count), count))
  return first ^ second


def _is_ours(key):
  """Tells if the keys and JAX's settings are those that this module knows."""
  partitionable = getattr(jax.config, "jax_threefry_partitionable", True)
  return partitionable and str(jax.random.key_impl(key)) == _IMPLEMENTATION


def _words(key):
  """Returns the two words of each key."""
  data = jax.random.key_data(key)
  return data[..., 0], data[..., 1]


def _hash(key, count):
  """Hashes counters by keys: two words each, uint32, broadcast.

  Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3": Threefry
  of two 32-bit words with 20 rounds.
  """
  keys = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
  x, y = count[0] + keys[0], count[1] + keys[1]
  for group in range(5):
    for rotation in _ROTATIONS[group % 2]:
      x = x + y
      y = (y << jnp.uint32(rotation)) | (y >> jnp.uint32(32 - rotation))
      y = x ^ y
    x = x + keys[(group + 1) % 3]
    y = y + keys[(group + 2) % 3] + jnp.uint32(group + 1)
  return x, y
