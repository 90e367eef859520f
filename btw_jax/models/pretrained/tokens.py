"""Tokenizers of pretrained models, from the `tokenizer.json` of a folder."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np
import tokenizers

from btw_jax import errors

FILE = "tokenizer.json"
# Larger files are no tokenizer.
_MAX_BYTES = 2**27
# Embeddings are padded to a multiple for speed, never by more than this.
_MAX_PADDING = 1024


class Tokens(NamedTuple):
  """The tokens of N texts.

  Attributes:
    ids: `[N, T]` int32, padded to the longest text.
    mask: `[N, T]` bool, False for padding.
    num_cut: number of texts that were too long, and lost their end.
  """

  ids: np.ndarray
  mask: np.ndarray
  num_cut: int


def read(folder: str | os.PathLike, vocab_size: int) -> tokenizers.Tokenizer:
  """Reads the tokenizer of a model.

  Args:
    folder: of the model.
    vocab_size: number of tokens that the model has embeddings for.

  Raises:
    InputError: if the file is missing, damaged or of another vocabulary.
  """
  path = pathlib.Path(folder) / FILE
  try:
    size = path.stat().st_size
  except OSError as error:
    raise errors.InputError(
      f"{path}: cannot be read ({error.strerror}): add the fast tokenizer of"
      " the model."
    ) from error
  if size > _MAX_BYTES:
    raise errors.InputError(
      f"{path}: has more than {_MAX_BYTES >> 20} MB: give a tokenizer."
    )
  try:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
  # The library raises nothing narrower.
  except Exception as error:
    raise errors.InputError(
      f"{path}: is no tokenizer ({str(error).splitlines()[0]}): fetch it again."
    ) from error
  largest = max(tokenizer.get_vocab().values(), default=-1)
  if not vocab_size - _MAX_PADDING <= largest + 1 <= vocab_size:
    raise errors.InputError(
      f"{path}: has {largest + 1} tokens, the model {vocab_size}: give the"
      " tokenizer of the same model."
    )
  tokenizer.no_padding()
  tokenizer.no_truncation()
  return tokenizer


def encode(
  tokenizer: tokenizers.Tokenizer,
  texts: Sequence[str],
  *,
  max_tokens: int,
  padding: int = 0,
) -> Tokens:
  """Returns the tokens of texts, with those that the model adds.

  Args:
    tokenizer: from `read`.
    texts: N texts.
    max_tokens: texts that are longer lose their end; the model's last token
      stays.
    padding: the token that fills shorter texts.

  Returns:
    The tokens.
  """
  whole = tokenizer.encode_batch(list(texts))
  num_cut = sum(len(one.ids) > max_tokens for one in whole)
  if num_cut:
    tokenizer.enable_truncation(max_tokens)
    whole = tokenizer.encode_batch(list(texts))
    tokenizer.no_truncation()
  lengths = np.array([len(one.ids) for one in whole], int)
  ids = np.full((len(whole), max(lengths, default=0)), padding, np.int32)
  for row, one in zip(ids, whole, strict=True):
    row[: len(one.ids)] = one.ids
  mask = np.arange(ids.shape[1]) < lengths[:, None]
  return Tokens(ids, mask, num_cut)
