"""Vision-language models: a vision tower, a connector and a decoder.

LLaVA: Liu et al. (2024), "Improved baselines with visual instruction tuning".
SmolVLM: Marafioti et al. (2025), "SmolVLM: redefining small and efficient
multimodal models"; its connector is that of Idefics3, Laurençon et al. (2024),
"Building and better understanding vision-language models".

The parts are those of `vision` and `llama`; their parameters stand below
"vision", "connector" and "text". The k-th placeholder of a text takes the k-th
token of its images.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from btw_jax.models.language import decoder
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import fields as fields_lib
from btw_jax.models.pretrained import layers
from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import vision


class Config(NamedTuple):
  """The sizes of a model.

  Attributes:
    vision: of the tower; it has no layers but those that are read.
    text: of the decoder.
    image_token: the placeholder in texts.
    activation: a name of `layers.ACTIVATIONS`, between the two layers of
      LLaVA's connector; None for SmolVLM's.
    projector_bias: whether the connector has biases.
    scale: SmolVLM joins `scale²` tokens of the tower to one; 1 for LLaVA.
    drops_class: whether the class token of the tower is left out.
    num_vision_layers: number of the tower's layers in the files.
  """

  vision: vision.Config
  text: llama.Config
  image_token: int
  activation: str | None
  projector_bias: bool
  scale: int
  drops_class: bool
  num_vision_layers: int

  @property
  def is_llava(self) -> bool:
    """True if the model is LLaVA; otherwise it is SmolVLM."""
    return self.activation is not None

  @property
  def num_image_tokens(self) -> int:
    """The number of tokens of an image."""
    number = self.vision.num_patches // self.scale**2
    return number + (self.vision.is_clip and not self.drops_class)


def read_llava(fields: fields_lib.Fields, architecture: str) -> Config:
  """Reads the sizes of LLaVA."""
  del architecture
  part = fields.nested("vision_config")
  kinds = ["clip_vision_model", "siglip_vision_model"]
  is_clip = part.choice("model_type", kinds, kinds[0]) == kinds[0]
  tower = vision.read_tower(
    part, is_clip=is_clip, patch_size=32 if is_clip else 16
  )
  number = fields.whole("vision_feature_layer", -2)
  # The states before all layers have the number 0.
  num_layers = number if number >= 0 else tower.num_layers + 1 + number
  if not 1 <= num_layers <= tower.num_layers:
    raise fields.wrong(
      "vision_feature_layer", f"the tower has {tower.num_layers} layers"
    )
  is_last = num_layers == tower.num_layers
  strategy = fields.choice(
    "vision_feature_select_strategy", ["default", "full"], "default"
  )
  return Config(
    vision=tower._replace(
      num_layers=num_layers, normalised=tower.normalised and is_last
    ),
    text=_read_text(fields),
    image_token=fields.token("image_token_id", "image_token_index"),
    activation=fields.choice(
      "projector_hidden_act", [*layers.ACTIVATIONS], "gelu"
    ),
    projector_bias=fields.flag("multimodal_projector_bias", True),
    scale=1,
    drops_class=is_clip and strategy == "default",
    num_vision_layers=tower.num_layers,
  )


def read_smolvlm(fields: fields_lib.Fields, architecture: str) -> Config:
  """Reads the sizes of SmolVLM or Idefics3."""
  del architecture
  tower = vision.read_tower(
    fields.nested("vision_config"),
    is_clip=False,
    patch_size=32,
    width=1152,
    num_heads=16,
  )
  scale = fields.size("scale_factor", 2)
  if tower.image_size // tower.patch_size % scale:
    raise fields.wrong(
      "scale_factor",
      f"give a divisor of {tower.image_size // tower.patch_size}, the patches"
      " of a row",
    )
  return Config(
    vision=tower,
    text=_read_text(fields),
    image_token=fields.token("image_token_id"),
    activation=None,
    projector_bias=False,
    scale=scale,
    drops_class=False,
    num_vision_layers=tower.num_layers,
  )


def _read_text(fields):
  """Reads the sizes of the decoder."""
  part = fields.nested("text_config")
  kind = part.choice("model_type", ["llama", "qwen2"], "llama")
  tied = None
  if "tie_word_embeddings" in fields:
    tied = fields.flag("tie_word_embeddings", False)
  return llama.read_decoder(part, is_qwen=kind == "qwen2", tied=tied)


def shapes(config: Config) -> layers.Shapes:
  """Returns the shape of each parameter."""
  tower, width = config.vision, config.text.width
  if not config.is_llava:
    connector = layers.dense_shapes(
      "proj", tower.width * config.scale**2, width, bias=False
    )
  else:
    connector = {}
    for name, num_inputs in (("linear_1", tower.width), ("linear_2", width)):
      connector |= layers.dense_shapes(
        name, num_inputs, width, bias=config.projector_bias
      )
  return (
    layers.under("vision", vision.shapes(tower))
    | layers.under("connector", connector)
    | layers.under("text", llama.shapes(config.text))
  )


def encode_images(
  params: layers.Params,
  config: Config,
  pixels: chex.Array,
  *,
  rematerialise: bool = False,
) -> chex.Array:
  """Encodes images to tokens of the decoder.

  Args:
    params: parameters with the shapes of `shapes`.
    config: the sizes, static.
    pixels: `[B, I, channels, size, size]`, the images of each text.
    rematerialise: see `layers.stack`.

  Returns:
    `[B, I · P, D]`, P tokens of each image.
  """
  batch_size, num_images = pixels.shape[:2]
  x = vision.encode(
    layers.scope(params, "vision"),
    config.vision,
    pixels.reshape(-1, *pixels.shape[2:]),
    rematerialise=rematerialise,
  )
  if config.drops_class:
    x = x[:, 1:]
  connector = layers.scope(params, "connector")
  if not config.is_llava:
    x = layers.dense(connector, "proj", pixel_shuffle(x, config.scale))
  else:
    x = layers.dense(connector, "linear_1", x)
    x = layers.ACTIVATIONS[config.activation](x)
    x = layers.dense(connector, "linear_2", x)
  return x.reshape(batch_size, num_images * x.shape[1], -1)


def pixel_shuffle(x: chex.Array, scale: int) -> chex.Array:
  """Joins every `scale · scale` neighbours of a square of tokens `[B, P, D]`.

  Returns `[B, P / scale², D · scale²]`.
  """
  batch_size, num_tokens, width = x.shape
  side = round(num_tokens**0.5)
  x = x.reshape(batch_size, side // scale, scale, side // scale, scale, width)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch_size, num_tokens // scale**2, width * scale**2)


def embed(
  params: layers.Params,
  config: Config,
  tokens: chex.Array,
  images: chex.Array | None,
) -> chex.Array:
  """Embeds texts, with the tokens of images in their placeholders.

  Args:
    params: parameters with the shapes of `shapes`.
    config: the sizes, static.
    tokens: `[B, T]` int.
    images: `[B, K, D]` of `encode_images`, at least as many as a text has
      placeholders; None without images.

  Returns:
    `[B, T, D]`.
  """
  embedded = llama.embed(layers.scope(params, "text"), tokens)
  if images is None:
    return embedded
  is_image = tokens == config.image_token
  number = jnp.cumsum(is_image, axis=1) - is_image
  number = jnp.minimum(number, images.shape[1] - 1)
  return jnp.where(
    is_image[..., None],
    decoder.take(images, number).astype(embedded.dtype),
    embedded,
  )


def logits(
  params: layers.Params,
  config: Config,
  tokens: chex.Array,
  mask: chex.Array,
  pixels: chex.Array | None = None,
) -> chex.Array:
  """Returns the logits `[B, T, V]` of the token after each token of texts.

  Args:
    params: parameters with the shapes of `shapes`.
    config: the sizes, static.
    tokens: `[B, T]` int.
    mask: `[B, T]` bool, False for padding, at either end.
    pixels: `[B, I, channels, size, size]`, the images of each text; None
      without images.
  """
  images = None if pixels is None else encode_images(params, config, pixels)
  text = layers.scope(params, "text")
  embedded = embed(params, config, tokens, images)
  hidden = llama.decode(text, config.text, embedded, mask)
  return llama.logits(text, config.text, hidden)


def _unused(config):
  """Returns patterns of what files may hold besides the parameters."""
  skipped = range(config.vision.num_layers, config.num_vision_layers)
  names = [rf"vision\.encoder\.layers\.{i}\..*" for i in skipped]
  names.append(r"vision\.head\..*")
  if not config.vision.normalised:
    names.append(r"vision\.post_layernorm\..*")
  names += [r".*\.position_ids", r".*\.rotary_emb\.inv_freq"]
  return [*names, r"text\.lm_head\.weight"] if config.text.tied else names


# Newer files name the parts below "model", older ones do not.
LLAVA = family.Family(
  read_llava,
  shapes,
  aliases=(
    (r"^model\.", ""),
    (r"^vision_tower\.(vision_model\.)?", "vision."),
    (r"^multi_modal_projector\.", "connector."),
    (r"^language_model\.(model\.|(?!lm_head))", "text.model."),
    (r"^language_model\.lm_head\.", "text.lm_head."),
    (r"^lm_head\.", "text.lm_head."),
  ),
  unused=_unused,
)
SMOLVLM = family.Family(
  read_smolvlm,
  shapes,
  aliases=(
    (r"^model\.", ""),
    (r"^vision_model\.", "vision."),
    (r"^connector\.modality_projection\.", "connector."),
    (r"^text_model\.", "text.model."),
    (r"^lm_head\.", "text.lm_head."),
  ),
  unused=_unused,
)
