"""The files of CMU-MOSI and CMU-MOSEI that MMIM prepares.

`{train,dev,test}.pkl` holds a list of ((words, visual `[Tv, dv]`, acoustic
`[Ta, da]`, actual words, vlen, alen), label, id). The target is the sentiment
in [-3, 3], the first of seven labels; the modalities are `text`, `audio` and
`vision`. MMIM trains a language model on the words; here `text` is what a
pretrained text encoder makes of them, or else a bag of words, hashed to 512
features.
"""

import pathlib

import numpy as np
from sklearn.feature_extraction import text as sklearn_text

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import padding
from btw_jax.data import pickles
from btw_jax.data import texts

_FILES = {"train": "train.pkl", "valid": "dev.pkl", "test": "test.pkl"}
_NUM_WORDS = 512


def load(
  *, path: str, text_reader: texts.Reader | None = None
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a folder, as a regression.

  Raises:
    InputError: if a file is missing, unreadable or of another format.
  """
  splits, num_cut = {}, {}
  for split, name in _FILES.items():
    file = pathlib.Path(path) / name
    splits[split], num_cut[split] = _read_file(file, text_reader)
  return texts.add_notes(
    dataset_lib.deduplicate_ids(splits, "regression"), num_cut
  )


def _read_file(file, text_reader):
  """Returns the examples of a file, and the number of texts that were cut."""
  rows = pickles.load(file)
  if not isinstance(rows, list):
    raise errors.InputError(
      f"{file}: holds a {type(rows).__name__}, not a list of examples: give"
      " an MMIM pickle."
    )
  examples = [_parse(file, row, example) for row, example in enumerate(rows)]
  columns = zip(*examples, strict=True) if examples else [()] * 5
  vision, audio, words, target, ids = columns
  features, steps, present, replaced = {}, {}, {}, {}
  vocab_sizes, num_cut = {}, 0
  if text_reader:
    read = text_reader.read(
      [texts.to_text(f"{file}: the words of row {r}", w)
       for r, w in enumerate(words)]
    )  # fmt: skip
    features["text"], present["text"] = read.values, read.length > 0
    steps["text"], num_cut = dataset_lib.Steps(read.length), read.num_cut
    if read.vocab_size:
      vocab_sizes["text"] = read.vocab_size
  else:
    hashing = sklearn_text.HashingVectorizer(n_features=_NUM_WORDS)
    features["text"] = hashing.transform(words).toarray() if words else (
      np.zeros((0, _NUM_WORDS))
    )  # fmt: skip
    present["text"] = np.any(features["text"], axis=1)
  for modality, arrays in (("audio", audio), ("vision", vision)):
    width = _width(file, modality, arrays)
    x, length = padding.pad(arrays, width)
    features[modality], replaced[modality] = padding.replace_non_finite(x)
    steps[modality] = dataset_lib.Steps(length)
    present[modality] = (length > 0) & np.any(features[modality], axis=(1, 2))
  examples = dataset_lib.complete(
    features,
    np.array(target),
    ids=ids,
    present=present,
    steps=steps,
    subjects=[i.partition("[")[0] for i in ids],
    replaced=replaced,
    vocab_sizes=vocab_sizes,
    name=str(file),
  )
  return examples, num_cut


def _parse(file, row, example):
  """Returns vision, audio, words, sentiment and id of one example."""
  try:
    (_, vision, audio, words, *lengths), label, name = example
    vision, audio = (np.asarray(x, np.float32) for x in (vision, audio))
    if lengths:
      vision = vision[: int(np.ravel(lengths[0])[0])]
    if len(lengths) > 1:
      audio = audio[: int(np.ravel(lengths[1])[0])]
    target = float(np.ravel(label)[0])
  except (TypeError, ValueError, IndexError, OverflowError) as error:
    raise errors.InputError(
      f"{file}: row {row} is not ((words, visual, acoustic, actual words, vlen,"
      f" alen), label, id) ({error}): give an MMIM pickle."
    ) from error
  return vision, audio, " ".join(map(str, words)), target, str(name)


def _width(file, modality, arrays):
  """Returns the number of features of a step, which all rows must share."""
  widths = [x.shape[1] if x.ndim == 2 else -1 for x in arrays]
  wrong = np.flatnonzero(np.array(widths, int) != (widths or [0])[0])
  if len(wrong) or -1 in widths:
    row = wrong[0] if len(wrong) else 0
    raise errors.InputError(
      f"{file}: {modality} of row {row} has shape {arrays[row].shape}, row 0"
      f" {arrays[0].shape}: give [T, D] with one D in every row."
    )
  return widths[0] if widths else 1
