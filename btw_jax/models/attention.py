"""Sublayers of a pre-norm Transformer, each with its residual connection."""

import chex
from flax import linen as nn
import jax.numpy as jnp

from btw_jax.models import dropout


class SelfAttention(nn.Module):
  """A residual self-attention sublayer, `x + attention(norm(x))`.

  Vaswani et al. (2017), "Attention is all you need", eq. 1.

  Attributes:
    num_heads: number of heads, a divisor of D.
    dropout: fraction of the attention output that is dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  num_heads: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: chex.Array, where: chex.Array, *, train: bool
  ) -> chex.Array:
    """Maps tokens `[B, N, D]`, attending to the tokens in `where` `[B, N]`."""
    y = nn.LayerNorm()(x)
    attend = nn.MultiHeadDotProductAttention(self.num_heads)
    y = attend(y, mask=where[:, None, None])
    drop = dropout.Dropout(self.dropout, self.axis_name)
    return x + drop(y, train=train)


class Perceptron(nn.Module):
  """A residual two-layer perceptron applied to every token, `x + mlp(norm(x))`.

  Attributes:
    hidden_dim: number of hidden units.
    dropout: fraction of the hidden units that is dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  hidden_dim: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
    """Maps tokens `[B, ..., D]`."""
    y = nn.relu(nn.Dense(self.hidden_dim)(nn.LayerNorm()(x)))
    y = dropout.Dropout(self.dropout, self.axis_name)(y, train=train)
    return x + nn.Dense(x.shape[-1])(y)


def sinusoids(num_steps: int, width: int) -> chex.Array:
  """Returns sinusoidal position embeddings `[T, D]`, values in [−1, 1].

  Vaswani et al. (2017), section 3.5.
  """
  rates = 1e-4 ** (jnp.arange(0, width, 2) / width)
  angles = jnp.arange(num_steps)[:, None] * rates
  waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  # An odd width has one cosine too many.
  return waves.reshape(num_steps, -1)[:, :width]
