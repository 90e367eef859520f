"""The reading of CMU-MOSI and CMU-MOSEI pickles that hold arrays by field."""

from collections.abc import Callable, Sequence

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fields
from btw_jax.data import padding
from btw_jax.data import pickles
from btw_jax.data import texts

_MODALITIES = ("text", "audio", "vision")

# Maps the fields of a split, a modality and its values `[N, T, D]` to values
# whose sequences start at step 0, and the `[N]` lengths.
Align = Callable[
  [fields.Fields, str, np.ndarray], tuple[np.ndarray, np.ndarray]
]


def load(
  path: str,
  files: Sequence[str],
  kind: str,
  *,
  target: str,
  align: Align,
  subject: Callable[[str], str],
  modalities: Sequence[str] = (),
  text_reader: texts.Reader | None = None,
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a pickle that maps split -> field -> array.

  A modality is missing from an example if all its values are 0. Values that are
  not finite become 0 and are counted.

  Args:
    path: the pickle, or the folder that has it.
    files: the names that the pickle may have in a folder.
    kind: the format, for messages.
    target: the field of the sentiment.
    align: moves sequences to step 0 and finds their lengths.
    subject: maps an id to its subject; without ids there are no subjects.
    modalities: those that are needed; the file may lack others. All are needed
      if none is named.
    text_reader: reads the words of `text`; by default its features are read.

  Raises:
    InputError: if the file is unreadable or lacks a field.
  """
  file = pickles.locate(path, files)
  content = fields.Fields(file, kind, pickles.load(file))

  num_cut = {}

  def read_split(name):
    split = content.nested(name)
    y = split.array(target, 1)
    features, steps, present, replaced = {}, {}, {}, {}
    vocab_sizes = {}
    for modality in _MODALITIES:
      if modality == texts.MODALITY and text_reader:
        words = texts.of_fields(text_reader, split, len(y))
        features["text"], present["text"] = words.values, words.length > 0
        steps["text"] = dataset_lib.Steps(words.length)
        num_cut[name] = words.num_cut
        if words.vocab_size:
          vocab_sizes["text"] = words.vocab_size
        continue
      if modality not in split:
        if modalities and modality not in modalities:
          continue
        raise errors.InputError(
          f"{split.name}: has no field {modality!r}, which {kind} has: add it,"
          " or leave the modality out with --modalities."
        )
      x, replaced[modality] = padding.replace_non_finite(
        split.array(modality, 3)
      )
      features[modality], length = align(split, modality, x)
      steps[modality] = dataset_lib.Steps(length)
      present[modality] = length > 0
    ids = split.texts("id", len(y)) if "id" in split else None
    return dataset_lib.complete(
      features,
      y,
      ids=ids,
      present=present,
      steps=steps,
      subjects=None if ids is None else [subject(i) for i in ids],
      replaced=replaced,
      vocab_sizes=vocab_sizes,
      name=split.name,
    )

  splits = {s: read_split(s) for s in dataset_lib.SPLITS}
  # Sets of humour and sarcasm in this format have two classes, in order.
  task = "regression" if len(np.unique(splits["train"].target)) > 2 else None
  return texts.add_notes(dataset_lib.deduplicate_ids(splits, task), num_cut)
