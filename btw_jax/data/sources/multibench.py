"""CMU-MOSI and CMU-MOSEI as MultiBench prepares them.

`mosi_raw.pkl` and `mosei_senti_data.pkl`: split -> field -> array, 50 steps
with the zeros of padding before the sequence. Sentiment in [-3, 3] is predicted
from `text` (GloVe), `audio` and `vision`.
"""

import re

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import padding
from btw_jax.data import sentiment

_FILES = ("mosi_raw.pkl", "mosei_senti_data.pkl")
# "video[3]", or what `Fields.texts` makes of (video, start, end).
_CLIP = re.compile(r"(\[\d+\]|_[\d.]+_[\d.]+)$")


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
    "a MultiBench pickle",
    target="labels",
    place=lambda split, modality, x: padding.move_to_front(x),
    subject=lambda i: _CLIP.sub("", i),
  )
