"""CMU-MOSI and CMU-MOSEI as MultiBench prepares them.

`mosi_raw.pkl` and `mosei_senti_data.pkl`: split -> field -> array, 50 steps
with the zeros of padding before the sequence. Sentiment in [-3, 3] is predicted
from `text` (GloVe), `audio` and `vision`. A row whose modality is all zeros
lacks it.
"""

import re

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fields
from btw_jax.data import padding
from btw_jax.data import pickles

_FILES = ("mosi_raw.pkl", "mosei_senti_data.pkl")
_MODALITIES = ("text", "audio", "vision")
# "video[3]", or what `Fields.texts` makes of (video, start, end).
_CLIP = re.compile(r"(\[\d+\]|_[\d.]+_[\d.]+)$")


def load(*, path: str) -> dataset_lib.Found:
  """Reads the splits of a file.

  Args:
    path: of the pickle, or the folder that holds one.

  Returns:
    The splits and the task, a regression.

  Raises:
    InputError: if the file is unreadable or lacks a field.
  """
  file = pickles.locate(path, _FILES)
  content = fields.Fields(file, "a MultiBench pickle", pickles.load(file))
  return dataset_lib.told_apart(
    {s: _examples(content.inside(s)) for s in dataset_lib.SPLITS}, "regression"
  )


def _examples(split):
  target = split.array("labels", 1)
  features, steps, present, replaced = {}, {}, {}, {}
  for modality in _MODALITIES:
    x, replaced[modality] = padding.finite(split.array(modality, 3))
    x, length = padding.move_to_front(x)
    features[modality], steps[modality] = x, dataset_lib.Steps(length)
    present[modality] = length > 0
  ids = split.texts("id", len(target))
  return dataset_lib.complete(
    features,
    target,
    ids=ids,
    present=present,
    steps=steps,
    subjects=[_CLIP.sub("", i) for i in ids],
    replaced=replaced,
    name=split.name,
  )
