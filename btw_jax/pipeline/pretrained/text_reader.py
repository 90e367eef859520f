"""Texts of a data set, read by a pretrained text encoder.

An encoder that trains with the models gets the tokens. One that stays as it is
is applied once, and its states are features like any others.
"""

from collections.abc import Callable, Mapping, Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers

from btw_jax import errors
from btw_jax.data import texts as texts_lib
from btw_jax.models import networks
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import layers
from btw_jax.models.pretrained import tokens as tokens_lib
from btw_jax.pipeline import config_sections

# Tokens that an encoder which stays as it is reads in one call.
_TOKENS_PER_CALL = 2**12


def make(config: config_sections.TextConfig) -> "TextReader | None":
  """Makes the reader of texts of a run; None without a text encoder.

  Raises:
    InputError: if the folder holds no text encoder.
  """
  return TextReader(config) if config.encoder else None


def sizes(config: config_sections.TextConfig) -> networks.Text | None:
  """Returns the sizes of the encoder that trains with the models, if any."""
  if not config.trains:
    return None
  encoder = _read_config(config.encoder)
  return networks.Text(encoder, *texts_lib.centre(encoder.vocab_size))


def params_reader(
  config: config_sections.TextConfig,
) -> Callable[[], Mapping[str, np.ndarray]] | None:
  """Returns a function that reads the encoder's parameters, if it trains."""
  if not config.trains:
    return None
  return lambda: (
    catalog.load(config.encoder, place=lambda name, array: array).params
  )


def _read_config(folder) -> bert.Config:
  """Reads the sizes of a text encoder."""
  architecture, family, config = catalog.read_config(folder)
  if family is not bert.FAMILY:
    known = [n for n, f in catalog.ARCHITECTURES.items() if f is bert.FAMILY]
    raise errors.InputError(
      f"--text_encoder={folder}: is a {architecture}, which encodes no texts:"
      f" give one of {', '.join(known)}."
    )
  return config


class TextReader:
  """Reads texts as tokens, or as the states of an encoder.

  Implements `texts.Reader`.
  """

  def __init__(self, config: config_sections.TextConfig):
    """Reads the configuration of the encoder, and checks the settings.

    Raises:
      InputError: if the folder holds no text encoder.
    """
    self._folder, self._trains = config.encoder, config.trains
    self._config = _read_config(config.encoder)
    self._max_tokens = config.max_tokens
    if config.max_tokens > self._config.num_tokens:
      raise errors.InputError(
        f"--max_tokens={config.max_tokens}: {config.encoder} reads at most"
        f" {self._config.num_tokens} tokens: give no more."
      )

  def read(self, texts: Sequence[str]) -> texts_lib.Sequences:
    """Reads N texts; a blank one is missing."""
    tokens = tokens_lib.encode(
      self._tokenizer, texts, max_tokens=self._max_tokens
    )
    is_blank = np.array([not text.strip() for text in texts], bool)
    length = np.where(is_blank, 0, tokens.mask.sum(axis=1))
    return self._encode(tokens.ids, length, tokens.num_cut)

  def read_tokens(
    self, ids: np.ndarray, length: np.ndarray, name: str
  ) -> texts_lib.Sequences:
    """Reads `[N, T]` numbers of tokens, the first `[N]` length of each row."""
    inside = np.arange(ids.shape[1]) < length[:, None]
    known = (ids == np.floor(ids)) & (ids >= 0) & (ids < self.vocab_size)
    row, *_ = [*np.flatnonzero((inside & ~known).any(axis=1)), None]
    if row is not None:
      value = ids[row][inside[row] & ~known[row]][0]
      raise errors.InputError(
        f"{name} of row {row} holds {value:g}: {self._folder} has the tokens 0"
        f" to {self.vocab_size - 1}: give the encoder that the tokens are of."
      )
    num_cut = np.count_nonzero(length > self._max_tokens)
    ids = np.where(inside, ids, 0).astype(np.int32)[:, : self._max_tokens]
    return self._encode(ids, np.minimum(length, self._max_tokens), num_cut)

  @property
  def vocab_size(self) -> int:
    """The number of tokens that the encoder knows."""
    return self._config.vocab_size

  @functools.cached_property
  def _tokenizer(self) -> tokenizers.Tokenizer:
    return tokens_lib.read(self._folder, self.vocab_size)

  @functools.cached_property
  def _model(self):
    """The encoder that stays as it is."""
    return catalog.load(self._folder)

  def _encode(self, ids, length, num_cut):
    """Returns tokens as they are, or the states of the encoder."""
    # At least one step, so that a split without texts has a shape too.
    ids = np.pad(ids, [(0, 0), (0, max(1 - ids.shape[1], 0))])
    if self._trains:
      return texts_lib.Sequences(
        ids[..., None], length, self.vocab_size, num_cut
      )
    num_rows = max(1, _TOKENS_PER_CALL // ids.shape[1])
    states = np.zeros((*ids.shape, self._config.width), np.float32)
    for start in range(0, len(ids), num_rows):
      rows = np.arange(start, start + num_rows) % len(ids)
      mask = np.arange(ids.shape[1]) < np.maximum(length[rows], 1)[:, None]
      states[rows] = _states(self._model.params, self._config, ids[rows], mask)
    return texts_lib.Sequences(states, length, 0, num_cut)


@functools.partial(jax.jit, static_argnames="config")
def _states(
  params: layers.Params, config: bert.Config, ids: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns the states of tokens, 0 at padding."""
  ids = jnp.where(mask, ids, config.padding or 0)
  states = bert.encode(params, config, ids, mask)
  return jnp.where(mask[..., None], states, 0.0)
