"""The multimodal language model: towers, projectors and a decoder.

The k-th placeholder of a text for an image or a sound takes the k-th token of
that modality. The answer is the token after the last token of the text.
"""

import dataclasses
from typing import NamedTuple

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models import networks
from btw_jax.models import sequences
from btw_jax.models.language import decoder as decoder_lib
from btw_jax.models.language import sizes as sizes_lib
from btw_jax.models.language import towers

LanguageSizes = sizes_lib.LanguageSizes


class LanguageNetwork(networks.Multimodal):
  """A multimodal network that answers questions with one token.

  Attributes:
    sizes: the sizes of the network.
  """

  sizes: LanguageSizes

  def setup(self):
    """Declares towers, projectors, embeddings, decoder and head."""
    sizes = self.sizes
    # The tied head then starts with logits of about unit variance.
    init = nn.initializers.normal(sizes.embedding_dim**-0.5)
    shape = (sizes.vocab_size, sizes.embedding_dim)
    self.embedding = self.param("embedding", init, shape)
    self.vision = towers.VisionTower(sizes)
    self.vision_projector = towers.Projector(sizes.embedding_dim)
    if sizes.audio_shape is not None:
      self.audio = towers.AudioTower(sizes)
      self.audio_projector = towers.Projector(sizes.embedding_dim)
    self.decoder = decoder_lib.Decoder(
      sizes.num_layers,
      sizes.num_heads,
      sizes.num_kv_heads,
      sizes.hidden_dim,
      sizes.rope_base,
    )
    if not sizes.tied:
      self.head = nn.Dense(sizes.vocab_size, use_bias=False)

  @property
  def token_modalities(self) -> tuple[int, ...]:
    """The modality of each embedding that `fuse` takes."""
    return self.sizes.step_token_modalities

  def tokens(self, batch: types.Batch) -> chex.Array:
    """Returns the token ids `[B, T]` of a batch."""
    text = batch.features[:, sizes_lib.TEXT, : self.sizes.num_text]
    return text.astype(jnp.int32)

  def token_mask(self, batch: types.Batch) -> chex.Array:
    """Returns a mask `[B, N]` of the embeddings that carry a modality.

    It is False for absent modalities, for tokens of audio past the end, for
    padding and for placeholders.
    """
    sizes, tokens = self.sizes, self.tokens(batch)
    batch_size = len(tokens)
    masks = [jnp.ones((batch_size, sizes.num_image_tokens), bool)]
    if sizes.audio_shape is not None:
      (steps,) = batch.sequences
      valid = sequences.step_mask(steps.length[:, 0], sizes.audio_shape[0])
      masks.append(valid[:, :: sizes.frames_per_token])
    is_image, is_audio = self._placeholders(tokens)
    masks.append((tokens != sizes_lib.PAD) & ~is_image & ~is_audio)
    present = batch.present[:, np.asarray(self.token_modalities)]
    return present & jnp.concatenate(masks, axis=1)

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """Encodes a batch to `[B, N, D]`: the tokens of image, audio and text."""
    del train  # There is no dropout.
    sizes = self.sizes
    height, width = sizes.image_shape
    images = batch.features[:, sizes_lib.IMAGE, : height * width]
    images = self.vision(images.reshape(-1, height, width))
    encoded = [self.vision_projector(images)]
    if sizes.audio_shape is not None:
      (steps,) = batch.sequences
      audio = self.audio(steps.values[:, 0], steps.length[:, 0])
      encoded.append(self.audio_projector(audio))
    encoded.append(self.embedding[self.tokens(batch)])
    return jnp.concatenate(encoded, axis=1)

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> networks.Outputs:
    """Maps embeddings `[B, N, D]` to the logits `[1, B, V]` of the answer."""
    hidden = self._answer_states(embeddings, batch, multipliers)
    return self.logits(hidden[-1])[None], None

  def layer_logits(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> chex.Array:
    """Returns the logits `[L + 1, B, V]` of the answer after every layer.

    The final norm and the head read each layer ("logit lens"); the last logits
    are those of `fuse`, the first those of the embedding.
    """
    return self.logits(self._answer_states(embeddings, batch, multipliers))

  def logits(self, hidden: chex.Array) -> chex.Array:
    """Maps hidden states `[..., D]` to logits `[..., V]`."""
    x = self.decoder.normalise(hidden)
    return x @ self.embedding.T if self.sizes.tied else self.head(x)

  def encoder_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the modality of each entry of a parameter's leading axis.

    Towers and projectors belong to their modality, and the embedding of the
    tokens to text unless the head shares it. All other parameters have the
    scalar M. `params` are the parameters of the network.
    """
    sizes = self.sizes
    owners = {
      "vision": sizes_lib.IMAGE,
      "vision_projector": sizes_lib.IMAGE,
      "audio": sizes_lib.AUDIO,
      "audio_projector": sizes_lib.AUDIO,
    }
    if not sizes.tied:
      owners["embedding"] = sizes_lib.TEXT

    def ids(path, leaf):
      owner = owners.get(path[0].key)
      if owner is None:
        return np.asarray(len(sizes.widths))
      return np.full(leaf.shape[0], owner)

    return jax.tree_util.tree_map_with_path(ids, params)

  def with_num_text(self, num_text: int) -> "LanguageNetwork":
    """Returns the network, which has the same parameters, for other texts."""
    return self.clone(sizes=dataclasses.replace(self.sizes, num_text=num_text))

  def layout(self, batch: types.Batch) -> "Layout":
    """Returns where the tokens of a text stand and what they read."""
    sizes, tokens = self.sizes, self.tokens(batch)
    is_image, is_audio = self._placeholders(tokens)
    num_text = tokens.shape[1]
    num_before = sizes.num_image_tokens + sizes.num_audio_tokens
    source = jnp.broadcast_to(num_before + jnp.arange(num_text), tokens.shape)
    source = jnp.where(is_image, _count(is_image), source)
    source = jnp.where(
      is_audio, sizes.num_image_tokens + _count(is_audio), source
    )
    is_token = tokens != sizes_lib.PAD
    return Layout(
      source=source,
      positions=_count(is_token),
      where=jnp.take_along_axis(self.token_mask(batch), source, axis=1),
      answer=jnp.max(jnp.where(is_token, jnp.arange(num_text), 0), axis=1),
    )

  def _placeholders(self, tokens):
    """Returns which tokens `[B, T]` stand for an image and for audio."""
    has_audio = self.sizes.audio_shape is not None
    return (
      tokens == sizes_lib.IMAGE_TOKEN,
      (tokens == sizes_lib.AUDIO_TOKEN) & has_audio,
    )

  def place(
    self,
    embeddings: chex.Array,
    layout: "Layout",
    multipliers: chex.Array | None,
  ) -> chex.Array:
    """Puts the embeddings `[B, N, D]` among the text, to tokens `[B, T, D]`."""
    if multipliers is not None:
      owners = np.asarray(self.token_modalities)
      embeddings = embeddings * multipliers[:, owners, None]
    return decoder_lib.take(embeddings, layout.source)

  def _answer_states(self, embeddings, batch, multipliers):
    """Returns the states `[L + 1, B, D]` of the answer after every layer."""
    layout = self.layout(batch)
    hidden, _ = self.decoder(
      self.place(embeddings, layout, multipliers),
      layout.positions,
      decoder_lib.causal_mask(layout.where, jnp.arange(self.sizes.num_text)),
      layout.answer[:, None],
    )
    return hidden[:, :, 0]


class Layout(NamedTuple):
  """The places of the T tokens of each text.

  Attributes:
    source: `[B, T]`, the embedding of N that a token takes.
    positions: `[B, T]`, the number of tokens before it that are no padding.
    where: `[B, T]` bool, the tokens that others may attend to.
    answer: `[B]`, the last token that is no padding.
  """

  source: chex.Array
  positions: chex.Array
  where: chex.Array
  answer: chex.Array


def _count(mask):
  """Returns how many entries of a mask `[B, T]` are True before each entry."""
  return jnp.cumsum(mask, axis=1) - mask
