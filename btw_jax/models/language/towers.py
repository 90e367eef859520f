"""The towers of images and audio, and the projectors behind them."""

import chex
from flax import linen as nn
import jax.numpy as jnp

from btw_jax.models import sequences
from btw_jax.models.language import decoder
from btw_jax.models.language import linear
from btw_jax.models.language import sizes as sizes_lib


class Tower(nn.Module):
  """Layers that attend in both directions over tokens with learned positions.

  Attributes:
    sizes: the sizes of the network.
  """

  sizes: sizes_lib.LanguageSizes

  @nn.compact
  def __call__(self, x: chex.Array, where: chex.Array) -> chex.Array:
    """Maps tokens `[B, T, F]` to `[B, T, D]`; `where` `[B, T]` are valid."""
    sizes, num_tokens = self.sizes, x.shape[1]
    x = linear.Linear(sizes.embedding_dim, name="embed")(x)
    shape = (num_tokens, sizes.embedding_dim)
    x += self.param("position", nn.initializers.normal(0.02), shape)
    # A token attends to itself, so that no softmax is empty.
    mask = where[:, None] | jnp.eye(num_tokens, dtype=bool)
    for i in range(sizes.tower_layers):
      x, _ = decoder.Block(
        sizes.num_heads,
        sizes.num_kv_heads,
        sizes.hidden_dim,
        name=f"layers_{i}",
      )(x, mask)
    return decoder.RMSNorm(name="norm")(x)


class VisionTower(nn.Module):
  """The tower of images, one token per patch.

  Attributes:
    sizes: the sizes of the network.
  """

  sizes: sizes_lib.LanguageSizes

  @nn.compact
  def __call__(self, images: chex.Array) -> chex.Array:
    """Maps images `[B, H, W]` to tokens `[B, P, D]`."""
    x = patches(images, self.sizes.patch_size)
    return Tower(self.sizes, name="tower")(x, jnp.ones(x.shape[:2], bool))


class AudioTower(nn.Module):
  """The tower of audio, one token per `frames_per_token` log-mel frames.

  Attributes:
    sizes: the sizes of the network.
  """

  sizes: sizes_lib.LanguageSizes

  @nn.compact
  def __call__(self, frames: chex.Array, length: chex.Array) -> chex.Array:
    """Maps frames `[B, F, Mel]` of `length` `[B]` to tokens `[B, Q, D]`.

    Frames past the length count as zeros, and no token attends to a token
    without any valid frame.
    """
    num_frames = frames.shape[1]
    valid = sequences.step_mask(length, num_frames)
    x = jnp.where(valid[..., None], frames, 0.0)
    per_token = self.sizes.frames_per_token
    x = x.reshape(len(x), num_frames // per_token, -1)
    return Tower(self.sizes, name="tower")(x, valid[:, ::per_token])


class Projector(nn.Module):
  """A perceptron from the tokens of a tower to embeddings of the decoder.

  Attributes:
    embedding_dim: D.
  """

  embedding_dim: int

  @nn.compact
  def __call__(self, x: chex.Array) -> chex.Array:
    """Maps `[..., D]`."""
    x = nn.gelu(linear.Linear(self.embedding_dim, name="hidden")(x))
    return linear.Linear(self.embedding_dim, name="out")(x)


def patches(images: chex.Array, size: int) -> chex.Array:
  """Cuts images `[B, H, W]` into patches `[B, P, size²]`, row by row."""
  batch_size, height, width = images.shape
  rows, columns = height // size, width // size
  x = images.reshape(batch_size, rows, size, columns, size)
  return x.swapaxes(2, 3).reshape(batch_size, rows * columns, size * size)
