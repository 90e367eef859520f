"""The files of CMU-MOSI and CMU-MOSEI that MultiBench prepares.

`mosi_raw.pkl` and `mosei_senti_data.pkl` map split -> field -> array with 50
steps and zero padding before the sequence. The target is the sentiment in
[-3, 3], or one of two classes in its sets of humour and sarcasm, which have no
ids; the modalities are `text` (GloVe), `audio` and `vision`.
"""

from collections.abc import Sequence
import re

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import padding
from btw_jax.data import sentiment

_FILES = ("mosi_raw.pkl", "mosei_senti_data.pkl")
# The part after the video: "video[3]", or "video_1.5_4.2", which `Fields.texts`
# makes from (video, start, end).
_CLIP = re.compile(r"(\[\d+\]|_[\d.]+_[\d.]+)$")


def load(
  *, path: str, modalities: Sequence[str] = ()
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a pickle, or of the folder that has it."""
  return sentiment.load(
    path,
    _FILES,
    "a MultiBench pickle",
    target="labels",
    align=lambda split, modality, x: padding.move_to_front(x),
    subject=lambda i: _CLIP.sub("", i),
    modalities=modalities,
  )
