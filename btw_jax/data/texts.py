"""Texts of examples as tokens, or as the states of a model that reads them.

Sources of data hold words. What reads them, and so the vocabulary, is given by
whoever has a data set read.
"""

from collections.abc import Sequence
import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fields
from btw_jax.data import padding

# The modality that the words of a source belong to.
MODALITY = "text"


class Sequences(NamedTuple):
  """The texts of N examples, as sequences.

  Attributes:
    values: `[N, T, D]` states of tokens, or `[N, T, 1]` numbers of tokens.
    length: `[N]` number of tokens, 0 for a missing text.
    vocab_size: number of tokens that there are; 0 if the values are states.
    num_cut: number of texts that were too long, and lost their end.
  """

  values: np.ndarray
  length: np.ndarray
  vocab_size: int = 0
  num_cut: int = 0


class Reader(Protocol):
  """Turns texts to sequences."""

  def read(self, texts: Sequence[str]) -> Sequences:
    """Reads N texts; a blank one is missing."""

  def read_tokens(
    self, ids: np.ndarray, length: np.ndarray, name: str
  ) -> Sequences:
    """Reads `[N, T]` numbers of tokens, the first `[N]` length of each row.

    `name` is the field that holds them, for messages.
    """


def of_fields(reader: Reader, split: fields.Fields, num_rows: int) -> Sequences:
  """Reads the `raw_text` of a split, or else the tokens of its `text_bert`.

  `text_bert` is `[N, 3, T]`: numbers of tokens, mask and segments.

  Raises:
    InputError: if there is neither, or a field is wrong.
  """
  if "raw_text" in split:
    name = f"{split.name}: field 'raw_text'"
    rows = list(np.asarray(split.get("raw_text"), object))
    if len(rows) != num_rows:
      raise errors.InputError(
        f"{name} has {len(rows)} rows, other fields have {num_rows}: give one"
        " text for each row."
      )
    return reader.read([to_text(f"{name} of row {r}", x) for r, x in
                        enumerate(rows)])  # fmt: skip
  if "text_bert" not in split:
    raise errors.InputError(
      f"{split.name}: has neither 'raw_text' nor 'text_bert', which"
      " --text_encoder reads: add one, or leave --text_encoder out."
    )
  name = f"{split.name}: field 'text_bert'"
  tokens = split.array("text_bert", 3)
  if len(tokens) != num_rows or tokens.shape[1] != 3 or not tokens.shape[2]:
    raise errors.InputError(
      f"{name} has shape {tokens.shape}: give [{num_rows}, 3, T]: numbers of"
      " tokens, mask and segments."
    )
  mask = tokens[:, 1]
  # A mask starts once, and holds nothing but 0 and 1.
  starts = np.count_nonzero(np.diff(mask, axis=1, prepend=0) == 1, axis=1)
  wrong = ~np.isin(mask, (0, 1)).all(axis=1) | (starts > 1)
  if wrong.any():
    raise errors.InputError(
      f"{name} of row {np.argmax(wrong)} has a mask that is not 1 at the tokens"
      " of the text and 0 elsewhere: correct it."
    )
  length = np.count_nonzero(mask, axis=1)
  ids = padding.rotate(tokens[:, :1].swapaxes(1, 2), np.argmax(mask, axis=1))
  return reader.read_tokens(ids[:, :, 0], length, name)


def to_text(name: str, value: Any) -> str:
  """Returns a text from a file; a missing one, None or NaN, is empty.

  A list of words is joined. `name` is the row that holds it, for messages.

  Raises:
    InputError: if it is no text.
  """
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ""
  if isinstance(value, bytes):
    value = value.decode("utf-8", "replace")
  if isinstance(value, list | tuple | np.ndarray):
    value = " ".join(to_text(name, part) for part in value)
  if not isinstance(value, str):
    raise errors.InputError(f"{name} is {value!r}: give a text.")
  try:
    value.encode("utf-8")
  except UnicodeEncodeError as error:
    raise errors.InputError(
      f"{name} holds {value[error.start]!r}, which is no character: take it"
      " out."
    ) from error
  return value


def centre(vocab_size: int) -> tuple[float, float]:
  """Returns the mean and the standard deviation of tokens drawn uniformly.

  Numbers of tokens are scaled by these, so that they have the scale of all
  other features; `models.pretrained.text_encoder` takes it back.
  """
  return (vocab_size - 1) / 2, max(math.sqrt((vocab_size**2 - 1) / 12), 1.0)


def note_cut(split: str, num_cut: int, num_texts: int) -> tuple[str, ...]:
  """Returns a note for the log about texts that lost their end, if any did."""
  if not num_cut:
    return ()
  return (
    f"{split}: {num_cut} of {num_texts} texts are longer than --max_tokens, and"
    " lose their end",
  )


def add_notes(
  loaded: dataset_lib.LoadedSplits, num_cut: dict[str, int]
) -> dataset_lib.LoadedSplits:
  """Adds a note for each split in which texts lost their end."""
  notes = [*loaded.notes]
  for split, number in num_cut.items():
    notes += note_cut(split, number, len(loaded.splits[split]))
  return loaded._replace(notes=tuple(notes))
