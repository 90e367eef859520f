"""What several pickles of CMU-MOSI and CMU-MOSEI have in common."""

from collections.abc import Callable, Sequence

import numpy as np

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fields
from btw_jax.data import padding
from btw_jax.data import pickles

_MODALITIES = ("text", "audio", "vision")

# From a split, a modality and its values `[N, T, D]` to the values of sequences
# that start at step 0, and their lengths `[N]`.
Place = Callable[
  [fields.Fields, str, np.ndarray], tuple[np.ndarray, np.ndarray]
]


def load(
  path: str,
  files: Sequence[str],
  what: str,
  *,
  target: str,
  place: Place,
  subject: Callable[[str], str],
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a pickle: split -> field -> array.

  A modality that is all zeros in a row is absent from it; values that are not
  finite become 0 and are counted.

  Args:
    path: of the pickle, or the folder that holds one.
    files: names that it has in a folder.
    what: the format, for messages.
    target: field of the sentiment.
    place: finds where sequences are.
    subject: from an id to whom it is of.

  Returns:
    The splits and the task, a regression.

  Raises:
    InputError: if the file is unreadable or lacks a field.
  """
  file = pickles.locate(path, files)
  content = fields.Fields(file, what, pickles.load(file))

  def examples(split):
    y = split.array(target, 1)
    features, steps, present, replaced = {}, {}, {}, {}
    for modality in _MODALITIES:
      x, replaced[modality] = padding.finite(split.array(modality, 3))
      features[modality], length = place(split, modality, x)
      steps[modality] = dataset_lib.Steps(length)
      present[modality] = length > 0
    ids = split.texts("id", len(y))
    return dataset_lib.complete(
      features,
      y,
      ids=ids,
      present=present,
      steps=steps,
      subjects=[subject(i) for i in ids],
      replaced=replaced,
      name=split.name,
    )

  splits = {s: examples(content.inside(s)) for s in dataset_lib.SPLITS}
  return dataset_lib.deduplicate_ids(splits, "regression")
