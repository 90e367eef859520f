"""Encoders of sequences, from the steps of a modality to tokens.

Values past the end of a sequence never change an output. Each encoder handles
one modality, `[B, T, D]` with lengths; `Group` maps it over modalities of the
same shape.
"""

from collections.abc import Sequence

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models import attention
from btw_jax.models import dropout

# Width of the learned time embedding: one line and 15 sines.
_TIME_DIM = 16
# A score of invalid steps, below any other; finite, so that softmax has no NaN.
_BELOW_ALL = -1e30


def step_mask(length: chex.Array, num_steps: int) -> chex.Array:
  """Returns a mask `[..., T]` of the valid steps, from lengths `[...]`."""
  return jnp.arange(num_steps) < length[..., None]


def masked_mean(x: chex.Array, where: chex.Array) -> chex.Array:
  """Averages `[..., T, D]` over the steps in `where` `[..., T]`; 0 if none."""
  total = jnp.sum(jnp.where(where[..., None], x, 0.0), axis=-2)
  return total / jnp.maximum(jnp.sum(where, axis=-1, keepdims=True), 1)


def modality_one_hot(tokens: Sequence[int], num_modalities: int) -> np.ndarray:
  """Returns `[M, N]` bool, true where a token belongs to a modality.

  `tokens` holds the modality of each of the N tokens.
  """
  return np.asarray(tokens) == np.arange(num_modalities)[:, None]


def pool(
  tokens: chex.Array, where: chex.Array, owners: chex.Array
) -> chex.Array:
  """Averages the tokens `[B, N, D]` of each modality, to `[B, M, D]`.

  `where` `[B, N]` marks the valid tokens; a modality without any gets 0.
  `owners` `[M, N]` is from `modality_one_hot`.
  """
  return masked_mean(tokens[:, None], where[:, None] & owners)


class Transformer(nn.Module):
  """A pre-norm Transformer over the steps; one token per step.

  Attributes:
    embedding_dim: width of a token.
    hidden_dim: number of hidden units of a layer.
    num_heads: number of attention heads, a divisor of `embedding_dim`.
    num_layers: number of layers.
    dropout: fraction dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  embedding_dim: int
  hidden_dim: int
  num_heads: int
  num_layers: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(self, steps: types.Steps, *, train: bool) -> chex.Array:
    """Maps `values` `[B, T, D]` to `[B, T, embedding_dim]`."""
    num_steps = steps.values.shape[1]
    where = step_mask(steps.length, num_steps)
    x = nn.Dense(self.embedding_dim)(steps.values)
    x = x + attention.sinusoids(num_steps, self.embedding_dim)
    for _ in range(self.num_layers):
      drop = self.dropout, self.axis_name
      x = attention.SelfAttention(self.num_heads, *drop)(x, where, train=train)
      x = attention.Perceptron(self.hidden_dim, *drop)(x, train=train)
    return nn.LayerNorm()(x)


class BidirectionalGRU(nn.Module):
  """A gated recurrent unit in each direction; one token per step.

  Cho et al. (2014), "Learning phrase representations using RNN
  encoder-decoder".

  Attributes:
    embedding_dim: width of a token, half of it from each direction.
    dropout: fraction of each token that is dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  embedding_dim: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(self, steps: types.Steps, *, train: bool) -> chex.Array:
    """Maps `values` `[B, T, D]` to `[B, T, embedding_dim]`."""
    half = self.embedding_dim // 2
    forward = nn.RNN(nn.GRUCell(half))
    backward = nn.RNN(nn.GRUCell(self.embedding_dim - half))
    x = nn.Bidirectional(forward, backward)(
      steps.values, seq_lengths=steps.length
    )
    return dropout.Dropout(self.dropout, self.axis_name)(x, train=train)


class MultiTimeAttention(nn.Module):
  """Multi-time attention (mTAND): reads irregular steps at fixed times.

  It returns one token per point r of a grid, made from
  `x̂_h(r, d) = Σ_t α_h(r, t, d) x_td`. α_h is a softmax, over the steps at which
  feature d was observed, of scores from learned embeddings of r and t. Shukla &
  Marlin (2021), "Multi-time attention networks for irregularly sampled time
  series".

  Attributes:
    embedding_dim: width of a token.
    num_heads: number of heads h.
    num_points: L, number of grid points, evenly spaced over [0, 1].
    dropout: fraction of each token that is dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
  """

  embedding_dim: int
  num_heads: int
  num_points: int
  dropout: float
  axis_name: str | None = None

  @nn.compact
  def __call__(self, steps: types.Steps, *, train: bool) -> chex.Array:
    """Maps `values` `[B, T, D]` to `[B, L, embedding_dim]`."""
    num_steps = steps.values.shape[1]
    times = steps.times
    if times is None:
      times = jnp.linspace(0.0, 1.0, num_steps)
      times = jnp.broadcast_to(times, steps.values.shape[:2])
    scores = TimeScores(self.num_heads, self.num_points)(times)
    where = step_mask(steps.length, num_steps)
    if steps.observed is None:
      attention_weights = _masked_softmax(scores, where[:, None, None])
      interpolated = jnp.einsum(
        "bhlt,btd->blhd", attention_weights, steps.values
      )
    else:
      where = where[..., None] & steps.observed
      # Each feature has its own observed steps, and so its own softmax.
      attention_weights = _masked_softmax(
        scores[:, :, :, None], jnp.swapaxes(where, 1, 2)[:, None, None]
      )
      values = jnp.where(where, steps.values, 0.0)
      interpolated = jnp.einsum("bhldt,btd->blhd", attention_weights, values)
    x = nn.Dense(self.embedding_dim)(
      interpolated.reshape(*interpolated.shape[:2], -1)
    )
    return dropout.Dropout(self.dropout, self.axis_name)(x, train=train)


class TimeScores(nn.Module):
  """Attention scores of grid times for step times, by learned embeddings.

  Attributes:
    num_heads: number of heads h.
    num_points: L, number of grid points, evenly spaced over [0, 1].
  """

  num_heads: int
  num_points: int

  @nn.compact
  def __call__(self, times: chex.Array) -> chex.Array:
    """Maps the times `[B, T]` of steps to scores `[B, h, L, T]`."""
    embed = TimeEmbedding(self.num_heads, _TIME_DIM)
    grid = embed(jnp.linspace(0.0, 1.0, self.num_points))
    queries = nn.Dense(_TIME_DIM, name="query")(grid)
    keys = nn.Dense(_TIME_DIM, name="key")(embed(times))
    return jnp.einsum("lhf,bthf->bhlt", queries, keys) / _TIME_DIM**0.5


class TimeEmbedding(nn.Module):
  """A learned time embedding: one line and F − 1 sines of `ω t + φ` per head.

  Attributes:
    num_heads: number of heads h.
    width: F.
  """

  num_heads: int
  width: int

  @nn.compact
  def __call__(self, times: chex.Array) -> chex.Array:
    """Maps times `[...]` to `[..., h, F]`."""
    shape = (self.num_heads, self.width)

    def rates_init(key, shape):
      # Periods range from twice the time span [0, 1] down to 1/16 of it.
      octaves = jnp.linspace(0.0, 5.0, shape[-1])
      jitter = 1.0 + 0.1 * jax.random.normal(key, shape)
      return jnp.pi * 2.0**octaves * jitter

    rates = self.param("rates", rates_init, shape)
    phases = self.param("phases", nn.initializers.normal(1.0), shape)
    angles = times[..., None, None] * rates + phases
    return jnp.concatenate([angles[..., :1], jnp.sin(angles[..., 1:])], axis=-1)


def _masked_softmax(scores, where):
  """Computes a softmax over the last axis among `where`; zeros elsewhere."""
  probs = jax.nn.softmax(jnp.where(where, scores, _BELOW_ALL), axis=-1)
  return jnp.where(where, probs, 0.0)


class Group(nn.Module):
  """A separate encoder for each of G modalities of the same shape.

  Attributes:
    encoder: an encoder of one modality; its parameters get a leading axis G.
  """

  encoder: nn.Module

  def __call__(self, steps: types.Steps, *, train: bool) -> chex.Array:
    """Maps `values` `[B, G, T, D]` to tokens `[B, G, L, embedding_dim]`."""
    mapped = nn.vmap(
      lambda encoder, steps: encoder(steps, train=train),
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      in_axes=1,
      out_axes=1,
    )
    return mapped(self.encoder, steps)
