"""Encoders of sequences: one modality, `[B, T, D]` with lengths, to tokens.

What lies past the end of a sequence never changes an output. Each encoder is
written for one modality; `Group` maps it over modalities of the same shape.
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

# Frequencies of the learned embedding of time.
_TIME_DIM = 16
_BELOW_ALL = -1e30


def inside(length: chex.Array, num_steps: int) -> chex.Array:
  """Which steps are there.

  Args:
    length: `[...]` int.
    num_steps: T.

  Returns:
    `[..., T]` bool.
  """
  return jnp.arange(num_steps) < length[..., None]


def masked_mean(x: chex.Array, where: chex.Array) -> chex.Array:
  """Mean over the steps that are there.

  Args:
    x: `[..., T, D]`.
    where: `[..., T]` bool.

  Returns:
    `[..., D]`; 0 where there is no step.
  """
  total = jnp.sum(jnp.where(where[..., None], x, 0.0), axis=-2)
  return total / jnp.maximum(jnp.sum(where, axis=-1, keepdims=True), 1)


def whose(tokens: Sequence[int], num_modalities: int) -> np.ndarray:
  """Which tokens belong to each modality.

  Args:
    tokens: modality of each of N tokens.
    num_modalities: M.

  Returns:
    `[M, N]` bool.
  """
  return np.asarray(tokens) == np.arange(num_modalities)[:, None]


def pool(
  tokens: chex.Array, where: chex.Array, owners: chex.Array
) -> chex.Array:
  """Each modality's mean token.

  Args:
    tokens: `[B, N, D]`.
    where: `[B, N]` bool, the tokens that are there.
    owners: `[M, N]` bool, the modality of each token.

  Returns:
    `[B, M, D]`; 0 where a modality has no token.
  """
  return masked_mean(tokens[:, None], where[:, None] & owners)


class Transformer(nn.Module):
  """Self-attention over the steps; a token per step.

  Attributes:
    embedding_dim: width of a token.
    hidden_dim: hidden units of a layer.
    num_heads: a divisor of `embedding_dim`.
    num_layers: layers.
    dropout: share dropped in training.
    axis_name: of the devices that a batch is spread over, or None.
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
    where = inside(steps.length, num_steps)
    x = nn.Dense(self.embedding_dim)(steps.values)
    x = x + attention.sinusoids(num_steps, self.embedding_dim)
    for _ in range(self.num_layers):
      drop = self.dropout, self.axis_name
      x = attention.SelfAttention(self.num_heads, *drop)(x, where, train=train)
      x = attention.Perceptron(self.hidden_dim, *drop)(x, train=train)
    return nn.LayerNorm()(x)


class BidirectionalGRU(nn.Module):
  """A gated recurrent unit each way; a token per step.

  Cho et al. (2014), "Learning phrase representations using RNN
  encoder-decoder".

  Attributes:
    embedding_dim: width of a token, half of it from each way.
    dropout: share of each token dropped in training.
    axis_name: of the devices that a batch is spread over, or None.
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
  """Irregular steps read off at fixed times, mTAND; a token per grid point.

  `x̂_h(r, d) = Σ_t α_h(r, t, d) x_td`, where α_h is a softmax over the steps at
  which feature d was observed, of learned embeddings of the times r and t.
  Shukla & Marlin (2021), "Multi-time attention networks for irregularly sampled
  time series".

  Attributes:
    embedding_dim: width of a token.
    num_heads: h.
    num_points: L points, evenly spaced over [0, 1].
    dropout: share of each token dropped in training.
    axis_name: of the devices that a batch is spread over, or None.
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
    where = inside(steps.length, num_steps)
    if steps.observed is None:
      shares = _softmax(scores, where[:, None, None])
      read = jnp.einsum("bhlt,btd->blhd", shares, steps.values)
    else:
      where = where[..., None] & steps.observed
      # Every feature has steps of its own.
      shares = _softmax(
        scores[:, :, :, None], jnp.swapaxes(where, 1, 2)[:, None, None]
      )
      values = jnp.where(where, steps.values, 0.0)
      read = jnp.einsum("bhldt,btd->blhd", shares, values)
    x = nn.Dense(self.embedding_dim)(read.reshape(*read.shape[:2], -1))
    return dropout.Dropout(self.dropout, self.axis_name)(x, train=train)


class TimeScores(nn.Module):
  """How much a grid of times asks of each step, by learned embeddings.

  Attributes:
    num_heads: h.
    num_points: L points, evenly spaced over [0, 1].
  """

  num_heads: int
  num_points: int

  @nn.compact
  def __call__(self, times: chex.Array) -> chex.Array:
    """Maps times `[B, T]` of steps to `[B, h, L, T]`."""
    embed = TimeEmbedding(self.num_heads, _TIME_DIM)
    grid = embed(jnp.linspace(0.0, 1.0, self.num_points))
    queries = nn.Dense(_TIME_DIM, name="query")(grid)
    keys = nn.Dense(_TIME_DIM, name="key")(embed(times))
    return jnp.einsum("lhf,bthf->bhlt", queries, keys) / _TIME_DIM**0.5


class TimeEmbedding(nn.Module):
  """A line and F − 1 sines of time per head, `ω t + φ`, all learned.

  Attributes:
    num_heads: h.
    width: F.
  """

  num_heads: int
  width: int

  @nn.compact
  def __call__(self, times: chex.Array) -> chex.Array:
    """Maps times `[...]` to `[..., h, F]`."""
    shape = (self.num_heads, self.width)

    def rates_init(key, shape):
      # Periods from twice the whole span down to a fraction of it.
      octaves = jnp.linspace(0.0, 5.0, shape[-1])
      jitter = 1.0 + 0.1 * jax.random.normal(key, shape)
      return jnp.pi * 2.0**octaves * jitter

    rates = self.param("rates", rates_init, shape)
    phases = self.param("phases", nn.initializers.normal(1.0), shape)
    angles = times[..., None, None] * rates + phases
    return jnp.concatenate([angles[..., :1], jnp.sin(angles[..., 1:])], axis=-1)


def _softmax(scores, where):
  """Over the last axis, among `where`; zeros where there is none."""
  shares = jax.nn.softmax(jnp.where(where, scores, _BELOW_ALL), axis=-1)
  return jnp.where(where, shares, 0.0)


class Group(nn.Module):
  """One encoder per modality, for modalities of the same shape.

  Attributes:
    encoder: an encoder of one modality.
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
