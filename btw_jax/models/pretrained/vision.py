"""Vision towers of CLIP and SigLIP.

Radford et al. (2021), "Learning transferable visual models from natural
language supervision"; Zhai et al. (2023), "Sigmoid loss for language image
pre-training". CLIP has a class token before the patches.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import fields as fields_lib
from btw_jax.models.pretrained import layers

_PREFIX = "encoder.layers"


class Config(NamedTuple):
  """The sizes of a tower.

  Attributes:
    is_clip: whether it is CLIP's; otherwise it is SigLIP's.
    image_size: height and width of an image.
    patch_size: height and width of a patch.
    num_channels: channels of an image.
    width: D.
    hidden_dim: number of hidden units of a perceptron.
    num_layers: L, the layers that are applied.
    num_heads: number of attention heads, a divisor of D.
    activation: a name of `layers.ACTIVATIONS`.
    epsilon: added to variances.
    normalised: whether the last states are normalised, as SigLIP does.
  """

  is_clip: bool
  image_size: int
  patch_size: int
  num_channels: int
  width: int
  hidden_dim: int
  num_layers: int
  num_heads: int
  activation: str
  epsilon: float
  normalised: bool

  @property
  def num_patches(self) -> int:
    """P, the number of patches of an image."""
    return (self.image_size // self.patch_size) ** 2


def read_config(fields: fields_lib.Fields, architecture: str) -> Config:
  """Reads the sizes of a tower, alone or of CLIP and SigLIP with text."""
  if "vision_config" in fields:
    fields = fields.nested("vision_config")
  is_clip = architecture.startswith("CLIP")
  return read_tower(fields, is_clip=is_clip, patch_size=32 if is_clip else 16)


def read_tower(
  fields: fields_lib.Fields,
  *,
  is_clip: bool,
  patch_size: int,
  width: int = 768,
  num_heads: int = 12,
) -> Config:
  """Reads the sizes of a tower from its own fields.

  Args:
    fields: those of the tower.
    is_clip: whether it is CLIP's.
    patch_size: the default; the reference implementation leaves out of its
      files what equals its defaults, which differ between models.
    width: the default.
    num_heads: the default.

  Returns:
    The sizes.
  """
  config = Config(
    is_clip=is_clip,
    image_size=fields.size("image_size", 224),
    patch_size=fields.size("patch_size", patch_size),
    num_channels=fields.size("num_channels", 3),
    width=fields.size("hidden_size", width),
    hidden_dim=fields.size("intermediate_size", 3072),
    num_layers=fields.size("num_hidden_layers", 12),
    num_heads=fields.size("num_attention_heads", num_heads),
    activation=fields.choice(
      "hidden_act",
      [*layers.ACTIVATIONS],
      "quick_gelu" if is_clip else "gelu_pytorch_tanh",
    ),
    epsilon=fields.number("layer_norm_eps", 1e-5 if is_clip else 1e-6),
    normalised=not is_clip,
  )
  family.check_heads(fields, config.width, config.num_heads)
  if config.image_size < config.patch_size:
    raise fields.wrong(
      "image_size", f"give at least 'patch_size', {config.patch_size}"
    )
  return config


def shapes(config: Config) -> layers.Shapes:
  """Returns the shape of each parameter."""
  width, side = config.width, config.patch_size
  kernel = (width, config.num_channels, side, side)
  named = {
    "embeddings.patch_embedding.weight": kernel,
    "embeddings.position_embedding.weight": (
      config.num_patches + config.is_clip,
      width,
    ),
  }
  if config.is_clip:
    named["embeddings.class_embedding"] = (width,)
    named |= layers.norm_shapes("pre_layrnorm", width)
  else:
    named["embeddings.patch_embedding.bias"] = (width,)
  layer = {}
  for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
    layer |= layers.dense_shapes(f"self_attn.{name}", width, width)
  for name in ("layer_norm1", "layer_norm2"):
    layer |= layers.norm_shapes(name, width)
  layer |= layers.dense_shapes("mlp.fc1", width, config.hidden_dim)
  layer |= layers.dense_shapes("mlp.fc2", config.hidden_dim, width)
  if config.normalised:
    named |= layers.norm_shapes("post_layernorm", width)
  return named | layers.under(_PREFIX, layer, config.num_layers)


def encode(
  params: layers.Params,
  config: Config,
  pixels: chex.Array,
  *,
  rematerialise: bool = False,
) -> chex.Array:
  """Encodes images.

  Args:
    params: parameters with the shapes of `shapes`.
    config: the sizes, static.
    pixels: `[B, channels, size, size]`, normalised as the model wants them.
    rematerialise: see `layers.stack`.

  Returns:
    The states after the last layer: `[B, P, D]`, or `[B, 1 + P, D]` with the
    class token of CLIP first.
  """
  kernel = params["embeddings.patch_embedding.weight"]
  x = patches(pixels.astype(kernel.dtype), config.patch_size)
  x = jnp.einsum("bpi,oi->bpo", x, kernel.reshape(len(kernel), -1))
  if config.is_clip:
    first = jnp.broadcast_to(
      params["embeddings.class_embedding"], (len(x), 1, x.shape[-1])
    )
    x = jnp.concatenate([first, x], axis=1)
  else:
    x += params["embeddings.patch_embedding.bias"]
  x += params["embeddings.position_embedding.weight"]
  if config.is_clip:
    x = layers.layer_norm(params, "pre_layrnorm", x, config.epsilon)

  def layer(params, x):
    y = layers.layer_norm(params, "layer_norm1", x, config.epsilon)
    query, key, value = layers.dense_heads(
      params,
      [f"self_attn.{name}_proj" for name in "qkv"],
      y,
      config.width // config.num_heads,
    )
    y = layers.attend(query, key, value, None)
    x += layers.dense(params, "self_attn.out_proj", y)
    y = layers.layer_norm(params, "layer_norm2", x, config.epsilon)
    y = layers.dense(params, "mlp.fc1", y)
    y = layers.ACTIVATIONS[config.activation](y)
    return x + layers.dense(params, "mlp.fc2", y)

  x = layers.stack(
    layer,
    layers.scope(params, f"{_PREFIX}.*"),
    x,
    rematerialise=rematerialise,
  )
  if config.normalised:
    x = layers.layer_norm(params, "post_layernorm", x, config.epsilon)
  return x


def patches(pixels: chex.Array, size: int) -> chex.Array:
  """Cuts images `[B, C, H, W]` into patches `[B, P, C · size²]`, row by row."""
  batch_size, num_channels, height, width = pixels.shape
  rows, columns = height // size, width // size
  x = pixels[..., : rows * size, : columns * size]
  x = x.reshape(batch_size, num_channels, rows, size, columns, size)
  x = x.transpose(0, 2, 4, 1, 3, 5)
  return x.reshape(batch_size, rows * columns, -1)


def _unused(config):
  """Returns patterns of what files may hold besides the tower."""
  names = [
    r"text_model\..*", r"(text|visual)_projection\..*", r"logit_(scale|bias)",
    r"head\..*", r"embeddings\.position_ids",
  ]  # fmt: skip
  return names if config.normalised else [*names, r"post_layernorm\..*"]


FAMILY = family.Family(
  read_config, shapes, aliases=((r"^vision_model\.", ""),), unused=_unused
)
