"""The files of CMU-MOSI and CMU-MOSEI that MMSA prepares.

`aligned_50.pkl` and `unaligned_50.pkl` map split -> field -> array. The target
is the sentiment in [-3, 3]; the modalities are `text` (BERT features), `audio`
and `vision`. The length of `text` is the number of tokens in the token mask;
those of `audio` and `vision` are in `{audio,vision}_lengths`. Where the file
lacks these fields, a sequence ends at its last step that is not zero. The
padding stands at either end: MMSA-FET has an option for it. A pretrained text
encoder reads `raw_text`, or the tokens in `text_bert`, in place of `text`.
"""

from collections.abc import Sequence

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import padding
from btw_jax.data import sentiment
from btw_jax.data import texts

_FILES = ("aligned_50.pkl", "unaligned_50.pkl")


def load(
  *,
  path: str,
  modalities: Sequence[str] = (),
  text_reader: texts.Reader | None = None,
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a pickle, or of the folder that has it."""
  return sentiment.load(
    path,
    _FILES,
    "an MMSA pickle",
    target="regression_labels",
    align=_align,
    subject=lambda i: i.partition("$_$")[0],
    modalities=modalities,
    text_reader=text_reader,
  )


def _align(split, modality, x):
  """Returns `[N, T, D]` with sequences from step 0 on, and `[N]` lengths."""
  if modality == "text" and "text_bert" in split:
    field = "text_bert"
    tokens = split.array(field, 3)[:, 1]
    length = np.count_nonzero(tokens, axis=1)
    first = np.argmax(tokens != 0, axis=1)
  elif f"{modality}_lengths" in split:
    field = f"{modality}_lengths"
    length, first = _whole(split, field), None
  else:
    return padding.move_to_front(x)
  if len(length) != len(x):
    raise errors.InputError(
      f"{split.name}: field {field!r} has {len(length)} rows, {modality!r} has"
      f" {len(x)}: give one for each row."
    )
  length = np.clip(length, 0, x.shape[1])
  if first is None:
    first = padding.first_steps(x, length)
  absent = ~np.any(x, axis=(1, 2))
  return padding.rotate(x, first), np.where(absent, 0, length)


def _whole(split, field):
  """Returns the checked `[N]` lengths of sequences."""
  values = split.array(field, 1)
  wrong = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)))
  if len(wrong):
    raise errors.InputError(
      f"{split.name}: field {field!r} of row {wrong[0]} is {values[wrong[0]]}:"
      " give the number of steps, 0 if the modality is missing."
    )
  return values.astype(int)
