"""Encoders of feature vectors: one per modality, all in one batched product."""

from collections.abc import Sequence

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax.models import dropout


class ModalityDense(nn.Module):
  """A dense layer per modality, `[M, B, D] -> [M, B, features]`.

  Attributes:
    features: width of the output.
    fan_in: number of inputs that are not padding, per modality. It scales the
      initial kernels, so that zero-padding does not change their scale.
  """

  features: int
  fan_in: Sequence[int]

  @nn.compact
  def __call__(self, x: chex.Array) -> chex.Array:
    """Applies the layer of every modality to the inputs of that modality."""
    num_modalities, _, width = x.shape
    fan_in = jnp.asarray(self.fan_in, jnp.float32)

    def kernel_init(key, shape):
      # LeCun normal. The divisor is the standard deviation of a unit normal
      # truncated at two standard deviations, as in Flax.
      std = fan_in[:, None, None] ** -0.5 / 0.87962566103423978
      return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)

    shape = (num_modalities, width, self.features)
    kernel = self.param("kernel", kernel_init, shape)
    bias = self.param("bias", nn.initializers.zeros, (shape[0], 1, shape[2]))
    return jnp.einsum("mbd,mdh->mbh", x, kernel) + bias


class MLP(nn.Module):
  """A two-layer perceptron per modality, `[B, M, D] -> [B, M, embedding_dim]`.

  Attributes:
    widths: number of features of each modality before padding.
    hidden_dim: number of hidden units.
    embedding_dim: width of an embedding.
    dropout: fraction of the hidden units that is dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  widths: Sequence[int]
  hidden_dim: int
  embedding_dim: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(self, features: chex.Array, *, train: bool) -> chex.Array:
    """Encodes the features of every modality."""
    x = jnp.swapaxes(features, 0, 1)
    x = nn.relu(ModalityDense(self.hidden_dim, self.widths)(x))
    drop = dropout.Dropout(self.dropout, self.axis_name)
    x = drop(x, train=train, batch_axis=1)
    hidden = (self.hidden_dim,) * len(self.widths)
    x = nn.relu(ModalityDense(self.embedding_dim, hidden)(x))
    return jnp.swapaxes(x, 0, 1)
