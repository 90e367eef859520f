"""Sublayers of a Transformer: pre-norm, and added to what they are given."""

import chex
from flax import linen as nn
import jax.numpy as jnp

from btw_jax.models import dropout


class SelfAttention(nn.Module):
  """`x + attention(norm(x))`, every token to the tokens that are there.

  Vaswani et al. (2017), "Attention is all you need", eq. 1.

  Attributes:
    num_heads: a divisor of D.
    dropout: share of the result dropped in training.
    axis_name: of the devices that a batch is spread over, or None.
  """

  num_heads: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: chex.Array, where: chex.Array, *, train: bool
  ) -> chex.Array:
    """Maps tokens `[B, N, D]`, those of `where` `[B, N]` attended to."""
    y = nn.LayerNorm()(x)
    attend = nn.MultiHeadDotProductAttention(self.num_heads)
    y = attend(y, mask=where[:, None, None])
    drop = dropout.Dropout(self.dropout, self.axis_name)
    return x + drop(y, train=train)


class Perceptron(nn.Module):
  """`x + mlp(norm(x))`, each token for itself.

  Attributes:
    hidden_dim: hidden units.
    dropout: share of the hidden units dropped in training.
    axis_name: of the devices that a batch is spread over, or None.
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
  """Positions as sines and cosines, Vaswani et al. (2017), section 3.5.

  Args:
    num_steps: T.
    width: D.

  Returns:
    `[T, D]` in [−1, 1].
  """
  rates = 1e-4 ** (jnp.arange(0, width, 2) / width)
  angles = jnp.arange(num_steps)[:, None] * rates
  both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return both.reshape(num_steps, -1)[:, :width]
