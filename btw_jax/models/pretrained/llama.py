"""Decoders Llama and Qwen2.

Touvron et al. (2023), "LLaMA: open and efficient foundation language models";
Yang et al. (2024), "Qwen2 technical report". Qwen2 has biases in the kernels of
queries, keys and values. Grattafiori et al. (2024), "The Llama 3 herd of
models", slow down the long wavelengths of the rotary positions.
"""

import math
from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from btw_jax.models.language import attention
from btw_jax.models.language import decoder
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import fields as fields_lib
from btw_jax.models.pretrained import layers

_PREFIX = "model.layers"


class Rope(NamedTuple):
  """The rotary positions.

  Attributes:
    base: the slowest rotation has a wavelength of nearly `2π · base`.
    kind: "default"; "linear", which divides all rates by `factor`; or "llama3",
      which does so for wavelengths beyond `num_positions / low` and not at all
      below `num_positions / high`.
    factor: of "linear" and "llama3".
    low: of "llama3".
    high: of "llama3".
    num_positions: the positions that the model was trained on before.
  """

  base: float
  kind: str = "default"
  factor: float = 1.0
  low: float = 1.0
  high: float = 4.0
  num_positions: int = 8192


class Config(NamedTuple):
  """The sizes of a decoder.

  Attributes:
    vocab_size: V.
    width: D.
    hidden_dim: number of hidden units of a perceptron.
    num_layers: L.
    num_heads: number of query heads.
    num_kv_heads: number of heads of keys and values, a divisor of `num_heads`.
    head_dim: width of a head.
    epsilon: added to mean squares.
    rope: the rotary positions.
    qkv_bias: whether queries, keys and values have biases.
    out_bias: whether the output of attention has one.
    mlp_bias: whether the perceptrons have biases.
    tied: whether the head is the embedding of the tokens.
    num_positions: largest number of tokens of a text.
  """

  vocab_size: int
  width: int
  hidden_dim: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  epsilon: float
  rope: Rope
  qkv_bias: bool
  out_bias: bool
  mlp_bias: bool
  tied: bool
  num_positions: int


def read_config(fields: fields_lib.Fields, architecture: str) -> Config:
  """Reads the sizes of a decoder."""
  return read_decoder(fields, is_qwen=architecture.startswith("Qwen2"))


def read_decoder(
  fields: fields_lib.Fields, *, is_qwen: bool, tied: bool | None = None
) -> Config:
  """Reads the sizes of a decoder; `tied` overrules its field."""
  # The defaults are those of the reference implementation, whose files leave
  # out what equals them.
  width = fields.size("hidden_size", 4096)
  num_heads = fields.size("num_attention_heads", 32)
  fields.choice("hidden_act", ["silu"], "silu")
  if fields.flag("use_sliding_window", False):
    raise fields.wrong("use_sliding_window", "this version needs false")
  if "head_dim" not in fields:
    family.check_heads(fields, width, num_heads)
  bias = fields.flag("attention_bias", False)
  config = Config(
    vocab_size=fields.size("vocab_size", 151936 if is_qwen else 32000),
    width=width,
    hidden_dim=fields.size("intermediate_size", 22016 if is_qwen else 11008),
    num_layers=fields.size("num_hidden_layers", 32),
    num_heads=num_heads,
    num_kv_heads=fields.size(
      "num_key_value_heads", 32 if is_qwen else num_heads
    ),
    head_dim=fields.size("head_dim", width // num_heads),
    epsilon=fields.number("rms_norm_eps", 1e-6),
    rope=_read_rope(fields),
    qkv_bias=is_qwen or bias,
    out_bias=bias and not is_qwen,
    mlp_bias=fields.flag("mlp_bias", False),
    tied=fields.flag("tie_word_embeddings", False) if tied is None else tied,
    num_positions=fields.size(
      "max_position_embeddings", 32768 if is_qwen else 2048
    ),
  )
  if num_heads % config.num_kv_heads:
    raise fields.wrong(
      "num_key_value_heads",
      f"give a divisor of 'num_attention_heads', {num_heads}",
    )
  if config.head_dim % 2:
    raise fields.wrong("head_dim", "give an even number")
  return config


def _read_rope(fields):
  """Reads the rotary positions, under their newer or their older names."""
  name = "rope_parameters" if "rope_parameters" in fields else "rope_scaling"
  part = fields.nested(name)
  kinds, key = ["default", "linear", "llama3"], "rope_type"
  if key not in part and "type" in part:
    key = "type"
  kind = part.choice(key, kinds, "default")
  base = part if "rope_theta" in part else fields
  rope = Rope(base.number("rope_theta", 10_000.0), kind)
  if kind == "default":
    return rope
  rope = rope._replace(factor=part.number("factor"))
  if kind == "linear":
    return rope
  rope = rope._replace(
    low=part.number("low_freq_factor"),
    high=part.number("high_freq_factor"),
    num_positions=part.size("original_max_position_embeddings"),
  )
  if rope.low >= rope.high:
    raise part.wrong("low_freq_factor", "give less than 'high_freq_factor'")
  return rope


def shapes(config: Config) -> layers.Shapes:
  """Returns the shape of each parameter."""
  width, hidden = config.width, config.hidden_dim
  queries = config.num_heads * config.head_dim
  keys = config.num_kv_heads * config.head_dim
  layer = {}
  for name, num_outputs in (
    ("q_proj", queries), ("k_proj", keys), ("v_proj", keys),
  ):  # fmt: skip
    layer |= layers.dense_shapes(
      f"self_attn.{name}", width, num_outputs, bias=config.qkv_bias
    )
  layer |= layers.dense_shapes(
    "self_attn.o_proj", queries, width, bias=config.out_bias
  )
  for name, sizes in (
    ("gate_proj", (width, hidden)),
    ("up_proj", (width, hidden)),
    ("down_proj", (hidden, width)),
  ):
    layer |= layers.dense_shapes(f"mlp.{name}", *sizes, bias=config.mlp_bias)
  for name in ("input_layernorm", "post_attention_layernorm"):
    layer[f"{name}.weight"] = (width,)
  named = {
    "model.embed_tokens.weight": (config.vocab_size, width),
    "model.norm.weight": (width,),
    **layers.under(_PREFIX, layer, config.num_layers),
  }
  if not config.tied:
    named["lm_head.weight"] = (config.vocab_size, width)
  return named


def embed(params: layers.Params, tokens: chex.Array) -> chex.Array:
  """Returns the embeddings `[..., D]` of tokens `[...]`."""
  return params["model.embed_tokens.weight"][tokens]


def decode(
  params: layers.Params,
  config: Config,
  embeddings: chex.Array,
  mask: chex.Array,
  *,
  states: bool = False,
  rematerialise: bool = False,
  adapters: layers.Params | None = None,
) -> chex.Array:
  """Reads texts from left to right.

  Args:
    params: parameters with the shapes of `shapes`.
    config: the sizes, static.
    embeddings: `[B, T, D]`, of tokens or of what stands in their places.
    mask: `[B, T]` bool, False for padding, at either end.
    states: whether to return the states after every layer.
    rematerialise: see `layers.stack`.
    adapters: low-rank changes of the last layers, from `lora`.

  Returns:
    The states `[B, T, D]` after the last layer, not normalised; with `states`
    `[L + 1, B, T, D]`. Those of padding mean nothing.
  """
  mask = jnp.asarray(mask, bool)
  num_tokens = embeddings.shape[1]
  positions = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
  rotation = _rotation(config, positions)
  reads = decoder.causal_mask(mask, jnp.arange(num_tokens))

  def layer(params, x):
    y = layers.rms_norm(params, "input_layernorm", x, config.epsilon)
    query, key, value = layers.dense_heads(
      params,
      [f"self_attn.{name}_proj" for name in "qkv"],
      y,
      config.head_dim,
    )
    query, key = (
      attention.rotary(v, rotation).astype(x.dtype) for v in (query, key)
    )
    y = layers.attend(query, key, value, reads)
    x += layers.dense(params, "self_attn.o_proj", y)
    y = layers.rms_norm(params, "post_attention_layernorm", x, config.epsilon)
    gate = layers.ACTIVATIONS["silu"](layers.dense(params, "mlp.gate_proj", y))
    y = gate * layers.dense(params, "mlp.up_proj", y)
    return x + layers.dense(params, "mlp.down_proj", y)

  return layers.stack(
    layer,
    layers.scope(params, f"{_PREFIX}.*"),
    embeddings,
    states=states,
    rematerialise=rematerialise,
    adapters=layers.scope(adapters or {}, f"{_PREFIX}.*"),
  )


def logits(
  params: layers.Params, config: Config, hidden: chex.Array
) -> chex.Array:
  """Maps states `[..., D]` after any layer to logits `[..., V]` in float32.

  After a layer before the last one it is the "logit lens".
  """
  x = layers.rms_norm(params, "model.norm", hidden, config.epsilon)
  name = "model.embed_tokens" if config.tied else "lm_head"
  head = {f"{name}.weight": params[f"{name}.weight"]}
  return layers.dense(head, name, x).astype(jnp.float32)


def _rotation(config, positions):
  """Returns cosines and sines `[2, B, T, head_dim / 2]` of positions."""
  angles = positions[..., None] * jnp.asarray(rates(config), jnp.float32)
  return jnp.stack([jnp.cos(angles), jnp.sin(angles)])


def rates(config: Config) -> np.ndarray:
  """Returns the angles `[head_dim / 2]` that a step of one position turns."""
  half, rope = config.head_dim // 2, config.rope
  plain = rope.base ** (-np.arange(half) / half)
  if rope.kind == "default":
    return plain
  if rope.kind == "linear":
    return plain / rope.factor
  turns = rope.num_positions * plain / (2 * math.pi)
  share = np.clip((turns - rope.low) / (rope.high - rope.low), 0, 1)
  return plain * ((1 - share) / rope.factor + share)


def _unused(config):
  """Returns patterns of what files may hold besides the parameters."""
  names = [r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"]
  return [*names, r"lm_head\.weight"] if config.tied else names


FAMILY = family.Family(read_config, shapes, unused=_unused)
