"""Dropout whose masks do not depend on the number of devices."""

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax import threefry
from btw_jax import types

# Number of values of the 8 random bits that decide about one entry.
_LEVELS = 2**8


class Dropout(nn.Module):
  """Zeroes a fraction of the entries in training and scales up the others.

  Srivastava et al. (2014). A mask takes 8 random bits per entry, not the 32 of
  a uniform number: in a small model on CPU, drawing those is a third of a step.

  Attributes:
    rate: fraction to drop, in [0, 1), rounded to 1/256; the other entries are
      divided by the fraction kept after rounding.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  rate: float
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: chex.Array, *, train: bool, batch_axis: int = 0
  ) -> chex.Array:
    """Drops entries of `x` in training, with the RNG stream `dropout`.

    Each example has its own mask, drawn with a key that depends on its
    slot in the full batch. `batch_axis` is the axis of examples.
    """
    if not train or round(self.rate * _LEVELS) == 0:
      return x
    key = self.make_rng("dropout")
    return drop(key, x, self.rate, self.axis_name, batch_axis=batch_axis)


def drop(
  key: chex.PRNGKey,
  x: chex.Array,
  rate: float,
  axis_name: str | None,
  *,
  batch_axis: int = 0,
) -> chex.Array:
  """Drops entries of `x`; see `Dropout` for the arguments.

  `key` is the same on all devices.
  """
  threshold = round(rate * _LEVELS)
  if threshold == 0:
    return x
  shape = list(x.shape)
  batch_size = shape.pop(batch_axis)
  size = x.size // batch_size
  # Each 32-bit word is split into the random bytes of four entries.
  keys = types.keys(key, batch_size, axis_name)
  words = _computed_once(threefry.bits(keys, -(-size // 4)), key)
  bits = jax.lax.bitcast_convert_type(words, jnp.uint8)
  bits = bits.reshape(batch_size, -1)[:, :size].reshape(batch_size, *shape)
  keep = jnp.moveaxis(bits >= threshold, 0, batch_axis)
  return jnp.where(keep, x * (_LEVELS / (_LEVELS - threshold)), 0.0)


def _computed_once(words, key):
  """Returns the words, divided by 1.

  XLA on CPU computes a cheap expression anew wherever it is used: here for each
  of the four bytes of a word, once more in the backward pass. It never repeats
  a division. The 1 depends on the key, so that XLA does not know it.
  """
  one = jnp.maximum(jax.random.key_data(key).ravel()[0] >> 31, 1)
  return words // one.astype(words.dtype)
