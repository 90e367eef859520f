"""Encoder of texts that trains with a network: a pretrained BERT or RoBERTa."""

from collections.abc import Mapping
import functools

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.models import dropout
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import layers

# The name of the pretrained parameters among those of a network.
PRETRAINED = "pretrained"
# The standard deviation of initial parameters, as BERT has it.
_INITIAL_STD = 0.02


class TextEncoder(nn.Module):
  """The state of a text's first token, mapped to the width of an embedding.

  Attributes:
    config: the sizes of the pretrained encoder.
    embedding_dim: width of the token that is returned.
    dropout: fraction dropped in training.
    axis_name: axis of the devices that a batch is sharded over, or None.
    mean: the number of a token that is 0 in a batch.
    std: the difference of the numbers of two tokens that differ by 1 there.
  """

  config: bert.Config
  embedding_dim: int
  dropout: float
  mean: float
  std: float
  axis_name: str | None = None

  @nn.compact
  def __call__(self, steps: types.Steps, *, train: bool) -> chex.Array:
    """Maps scaled tokens, `values` `[B, T, 1]`, to `[B, 1, embedding_dim]`."""
    params = self.param(PRETRAINED, functools.partial(init, config=self.config))
    tokens = jnp.round(steps.values[..., 0] * self.std + self.mean)
    tokens = jnp.clip(tokens, 0, self.config.vocab_size - 1).astype(jnp.int32)
    # A text that is missing has one token, so that attention is finite.
    length = jnp.maximum(steps.length, 1)[:, None]
    mask = jnp.arange(tokens.shape[1]) < length
    tokens = jnp.where(mask, tokens, self.config.padding or 0)
    drop = key = None
    if train and self.dropout:
      key = self.make_rng("dropout")
      drop = functools.partial(
        dropout.drop, rate=self.dropout, axis_name=self.axis_name
      )
    states = bert.encode(params, self.config, tokens, mask, drop=drop, key=key)
    return nn.Dense(self.embedding_dim)(states[:, :1])


def init(key: chex.PRNGKey, config: bert.Config) -> layers.Params:
  """Draws parameters: normal kernels, norms that change nothing.

  Args:
    key: random key.
    config: the sizes.

  Returns:
    The parameters, name -> array.
  """
  shapes = bert.shapes(config)
  keys = jax.random.split(key, len(shapes))

  def draw(key, name, shape):
    if name.endswith("LayerNorm.weight"):
      return jnp.ones(shape)
    if name.endswith(".bias"):
      return jnp.zeros(shape)
    return _INITIAL_STD * jax.random.normal(key, shape)

  return {
    name: draw(key, name, shape)
    for key, (name, shape) in zip(keys, shapes.items(), strict=True)
  }


def replace(
  params: chex.ArrayTree, pretrained: Mapping[str, chex.Array]
) -> chex.ArrayTree:
  """Replaces the pretrained parameters of a network by those of a folder.

  Args:
    params: parameters of a network, or a part of them.
    pretrained: name -> array. All texts of the network get the same.
  """
  if not isinstance(params, Mapping):
    return params
  return {
    name: {k: jnp.broadcast_to(pretrained[k], x.shape) for k, x in part.items()}
    if name == PRETRAINED
    else replace(part, pretrained)
    for name, part in params.items()
  }


def is_pretrained(params: chex.ArrayTree) -> chex.ArrayTree:
  """Returns a pytree of bool, true for pretrained parameters."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.DictKey(PRETRAINED) in path, params
  )
