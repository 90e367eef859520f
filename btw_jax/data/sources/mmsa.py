"""CMU-MOSI and CMU-MOSEI as MMSA prepares them.

`aligned_50.pkl` and `unaligned_50.pkl`: split -> field -> array. Sentiment in
[-3, 3] is predicted from `text` (BERT features), `audio` and `vision`. How
many steps there are comes from the data: from the mask of the tokens for text,
from `{audio,vision}_lengths` where the file has them, and elsewhere from the
steps that are not zero.
"""

import numpy as np

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import padding
from btw_jax.data import sentiment

_FILES = ("aligned_50.pkl", "unaligned_50.pkl")


def load(*, path: str) -> dataset_lib.LoadedSplits:
  """Reads the splits of a file.

  Args:
    path: of the pickle, or the folder that holds one.

  Returns:
    The splits and the task, a regression.

  Raises:
    InputError: if the file is unreadable or lacks a field.
  """
  return sentiment.load(
    path,
    _FILES,
    "an MMSA pickle",
    target="regression_labels",
    place=_placed,
    subject=lambda i: i.partition("$_$")[0],
  )


def _placed(split, modality, x):
  """A modality that starts at step 0, and how many steps each row has."""
  length = None
  if modality == "text" and "text_bert" in split:
    tokens = split.array("text_bert", 3)[:, 1]
    length = np.count_nonzero(tokens, axis=1)
  elif f"{modality}_lengths" in split:
    length = split.array(f"{modality}_lengths", 1).astype(int)
  if length is None or len(length) != len(x):
    return padding.move_to_front(x)
  length = np.clip(length, 0, x.shape[1])
  nothing = ~np.any(x, axis=(1, 2))
  return x, np.where(nothing, 0, length)
