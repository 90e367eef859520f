"""Text encoders BERT and RoBERTa.

Devlin et al. (2019), "BERT: pre-training of deep bidirectional Transformers for
language understanding"; Liu et al. (2019), "RoBERTa". RoBERTa counts positions
from the number of its padding token on.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import fields as fields_lib
from btw_jax.models.pretrained import layers

_PREFIX = "encoder.layer"
# The keys of a layer's dropout, beside its parameters.
_KEYS = "dropout_keys"


class Config(NamedTuple):
  """The sizes of an encoder.

  Attributes:
    vocab_size: V.
    num_positions: largest number of tokens, plus the offset of RoBERTa.
    num_segments: number of kinds of segments.
    width: D.
    hidden_dim: number of hidden units of a perceptron.
    num_layers: L.
    num_heads: number of attention heads, a divisor of D.
    activation: a name of `layers.ACTIVATIONS`.
    epsilon: added to variances.
    padding: padding token of RoBERTa, after which positions count; None for
      BERT.
  """

  vocab_size: int
  num_positions: int
  num_segments: int
  width: int
  hidden_dim: int
  num_layers: int
  num_heads: int
  activation: str
  epsilon: float
  padding: int | None

  @property
  def num_tokens(self) -> int:
    """The largest number of tokens of a text."""
    return self.num_positions - (
      0 if self.padding is None else self.padding + 1
    )


def read_config(fields: fields_lib.Fields, architecture: str) -> Config:
  """Reads the sizes of an encoder."""
  fields.choice("position_embedding_type", ["absolute"], "absolute")
  is_roberta = architecture.startswith(("Roberta", "XLMRoberta"))
  config = Config(
    vocab_size=fields.size("vocab_size"),
    num_positions=fields.size("max_position_embeddings"),
    num_segments=fields.size("type_vocab_size", 2),
    width=fields.size("hidden_size"),
    hidden_dim=fields.size("intermediate_size"),
    num_layers=fields.size("num_hidden_layers"),
    num_heads=fields.size("num_attention_heads"),
    activation=fields.choice("hidden_act", [*layers.ACTIVATIONS], "gelu"),
    epsilon=fields.number("layer_norm_eps", 1e-12),
    padding=fields.token("pad_token_id") if is_roberta else None,
  )
  family.check_heads(fields, config.width, config.num_heads)
  return config


def shapes(config: Config) -> layers.Shapes:
  """Returns the shape of each parameter."""
  width = config.width
  embeddings = {
    "word_embeddings.weight": (config.vocab_size, width),
    "position_embeddings.weight": (config.num_positions, width),
    "token_type_embeddings.weight": (config.num_segments, width),
    **layers.norm_shapes("LayerNorm", width),
  }
  layer = {}
  for name in ("self.query", "self.key", "self.value", "output.dense"):
    layer |= layers.dense_shapes(f"attention.{name}", width, width)
  layer |= layers.norm_shapes("attention.output.LayerNorm", width)
  layer |= layers.dense_shapes("intermediate.dense", width, config.hidden_dim)
  layer |= layers.dense_shapes("output.dense", config.hidden_dim, width)
  layer |= layers.norm_shapes("output.LayerNorm", width)
  return layers.under("embeddings", embeddings) | layers.under(
    _PREFIX, layer, config.num_layers
  )


def encode(
  params: layers.Params,
  config: Config,
  tokens: chex.Array,
  mask: chex.Array,
  segments: chex.Array | None = None,
  *,
  drop: Callable[[chex.PRNGKey, chex.Array], chex.Array] | None = None,
  key: chex.PRNGKey | None = None,
  rematerialise: bool = False,
) -> chex.Array:
  """Encodes texts.

  In training, what each sublayer returns loses entries before it is added, and
  so do the embeddings; attention weights lose none.

  Args:
    params: parameters with the shapes of `shapes`.
    config: the sizes, static.
    tokens: `[B, T]` int, at most `config.num_tokens` of each text.
    mask: `[B, T]` bool, False for padding; at least one True in each row.
    segments: `[B, T]` int; 0 by default.
    drop: dropout of an array, given a key; None to drop nothing.
    key: random key of the dropout.
    rematerialise: see `layers.stack`.

  Returns:
    The states `[B, T, D]` after the last layer; those of padding mean nothing.
  """
  mask = jnp.asarray(mask, bool)
  embeddings = layers.scope(params, "embeddings")
  if config.padding is None:
    positions = jnp.arange(tokens.shape[1])[None]
  else:
    is_token = tokens != config.padding
    positions = jnp.cumsum(is_token, axis=1) * is_token + config.padding
  if segments is None:
    segments = jnp.zeros_like(tokens)
  x = (
    embeddings["word_embeddings.weight"][tokens]
    + embeddings["position_embeddings.weight"][positions]
    + embeddings["token_type_embeddings.weight"][segments]
  )
  x = layers.layer_norm(embeddings, "LayerNorm", x, config.epsilon)
  of_layers = layers.scope(params, f"{_PREFIX}.*")
  if drop is None:
    drop = _keep
  else:
    of_embeddings, of_stack = jax.random.split(key)
    x = drop(of_embeddings, x)
    of_layers[_KEYS] = jax.random.split(of_stack, (config.num_layers, 2))
  reads = jnp.broadcast_to(mask[:, None], (*tokens.shape, tokens.shape[1]))

  def layer(params, x):
    query, key, value = layers.dense_heads(
      params,
      [f"attention.self.{name}" for name in ("query", "key", "value")],
      x,
      config.width // config.num_heads,
    )
    y = layers.attend(query, key, value, reads)
    keys = params.get(_KEYS, (None, None))
    y = drop(keys[0], layers.dense(params, "attention.output.dense", y))
    x = layers.layer_norm(
      params, "attention.output.LayerNorm", x + y, config.epsilon
    )
    y = layers.dense(params, "intermediate.dense", x)
    y = layers.ACTIVATIONS[config.activation](y)
    y = drop(keys[1], layers.dense(params, "output.dense", y))
    return layers.layer_norm(params, "output.LayerNorm", x + y, config.epsilon)

  return layers.stack(layer, of_layers, x, rematerialise=rematerialise)


def _keep(key, x):
  """Drops nothing."""
  del key
  return x


def _unused(config):
  """Returns patterns of the heads that files may hold besides the encoder."""
  del config
  return (
    r"pooler\..*", r"cls\..*", r"lm_head\..*", r"classifier\..*",
    r"qa_outputs\..*", r"embeddings\.(position|token_type)_ids",
  )  # fmt: skip


FAMILY = family.Family(
  read_config,
  shapes,
  aliases=(
    (r"^(bert|roberta)\.", ""),
    # Names of the first files, which TensorFlow wrote.
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
  ),
  unused=_unused,
)
