"""The reader of arrays: `.npz`, a folder of `.npy`, or arrays in memory.

Each array is a condition named after it: `[N, C]` scores, `[N]` probabilities
of the second of two options, or `[N]` answers (whole numbers or texts).
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any
import zipfile

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import joining
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options

_LABELS = ("labels", "label", "y", "target", "targets")
_IDS = ("ids", "id")
_OPTIONS = "options"
_GROUP = "group_"
_DEFAULT = read_options.ReadOptions()


def read(
  path: str, options: read_options.ReadOptions
) -> list[conditions.Condition]:
  """Reads an archive, a folder of arrays, or one array.

  Raises:
    InputError: naming the first array that is wrong.
  """
  arrays = _load(pathlib.Path(path))
  labels = _take(arrays, _LABELS)
  ids = _take(arrays, _IDS)
  names = arrays.pop(_OPTIONS, ())
  groups = [name for name in arrays if name.startswith(_GROUP)]
  columns = {name.removeprefix(_GROUP): arrays.pop(name) for name in groups}
  return _conditions(path, arrays, labels, ids, names, columns, options)


def from_arrays(
  arrays: Mapping[str, Any],
  labels: Any = None,
  ids: Sequence[Any] | None = None,
  options: Sequence[str] | None = None,
  columns: Mapping[str, Sequence[Any]] | None = None,
  options_read: read_options.ReadOptions = _DEFAULT,
) -> conditions.Answers:
  """Returns the answers that arrays in memory hold.

  Args:
    arrays: condition -> `[N, C]` scores, where NaN at the end of a row marks
      options that a question does not have; `[N]` probabilities of the second
      of two options; or `[N]` answers, as positions, letters or option names.
    labels: `[N]` right options, as positions, letters or option names.
    ids: `[N]` ids; row numbers if None.
    options: C names of the options; letters if None.
    columns: name -> `[N]` values by which questions can be grouped.
    options_read: the meaning of the scores.

  Raises:
    InputError: naming the first array that is wrong.
  """
  return joining.join(
    _conditions(
      "arrays", dict(arrays), labels, ids, () if options is None else options,
      columns or {}, options_read,
    )
  )  # fmt: skip


def _load(path):
  """Returns name -> array."""
  try:
    # Object arrays are pickles, and a pickle can run code: never allowed.
    if path.is_dir():
      return {
        file.stem: np.load(file, allow_pickle=False)
        for file in sorted(path.glob("*.npy"))
      }
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
      return {path.stem: content}
    with content as archive:
      return {name: archive[name] for name in archive.files}
  except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
    raise errors.InputError(
      f"{path}: cannot be read as arrays: write it again with numpy.savez or"
      " numpy.save, without object arrays."
    ) from error


def _take(arrays, names):
  """Removes the first array that has one of some names, and returns it."""
  return next((arrays.pop(name) for name in names if name in arrays), None)


def _conditions(file, arrays, labels, ids, names, columns, options):
  """Returns one condition per array."""
  arrays = {name: _squeeze(np.asarray(x)) for name, x in arrays.items()}
  if not arrays:
    raise errors.InputError(
      f"{file}: holds no array of answers: give one array per condition."
    )
  first, reference = next(iter(arrays.items()))
  others = {"labels": labels, "ids": ids, **columns}
  others = {k: _squeeze(np.asarray(x)) for k, x in others.items()
            if x is not None}  # fmt: skip
  for name, x in {**arrays, **others}.items():
    if x.ndim == 0 or len(x) != len(reference):
      raise errors.InputError(
        f"{file}: {name!r} has shape {x.shape}, but {first!r} has"
        f" {reference.shape}: give the same questions in each array."
      )
  names = _option_names(file, names, arrays, others.get("labels"))
  rows = range(len(reference))
  positions = (
    _positions(others["labels"], names) if "labels" in others else None
  )
  count = _count(arrays, names, positions)
  shared = {
    "ids": [str(value) for value in others.get("ids", rows)],
    "places": [f"row {row}" for row in rows],
    "labels": positions,
    "names": names,
    "columns": {k: [str(v) for v in others[k]] for k in columns},
  }
  result = []
  for name, x in arrays.items():
    asked = questions.Questions(f"{file}, {name!r}", name=name, **shared)
    result.append(_condition(asked, x, names, count, options))
  return result


def _condition(asked, x, names, count, options):
  """Returns the condition of an array of one of the three kinds."""
  if x.ndim == 2 and x.dtype.kind in "fiub":
    if names and len(names) != x.shape[1]:
      raise errors.InputError(
        f"{asked.file}: has {x.shape[1]} columns, but 'options' has"
        f" {len(names)} names: give one name per column."
      )
    return asked.scored(x.astype(np.float64), options)
  if x.ndim == 1 and x.dtype.kind == "f":
    wrong = np.flatnonzero(~((x >= 0) & (x <= 1)))
    if len(wrong):
      raise errors.InputError(
        f"{asked.where(wrong[0])} is {x[wrong[0]]:g}: give [N] probabilities of"
        " the second option, or [N, C] scores."
      )
    x = x.astype(np.float64)
    options = read_options.ReadOptions(scores="probabilities")
    return asked.scored(np.stack([1 - x, x], axis=1), options)
  if x.ndim == 1 and x.dtype.kind in "iubU":
    return asked.decided(_positions(x, names), np.full(len(x), count))
  raise errors.InputError(
    f"{asked.file}: has shape {x.shape} of {x.dtype}: give [N, C] scores, [N]"
    " probabilities, or [N] answers."
  )


def _squeeze(x):
  return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x


def _option_names(file, names, arrays, labels):
  """Returns the names of the options; letters are left out."""
  names = tuple(str(name) for name in np.ravel(np.asarray(names)))
  if len(set(names)) < len(names):
    raise errors.InputError(
      f"{file}: 'options' has the same name twice: give different names."
    )
  words = [
    x for x in (*arrays.values(), labels)
    if x is not None and x.dtype.kind == "U"
  ]  # fmt: skip
  if names or any(x.ndim == 2 for x in arrays.values()) or not words:
    return names
  return questions.shared_names(np.concatenate(words).tolist())


def _positions(values, names):
  """Returns answers or labels `[N]` as positions."""
  if values.dtype.kind in "f" and np.all(values == np.round(values)):
    values = values.astype(np.int64)
  if values.dtype.kind in "iub":
    x = values.astype(np.int64)
    valid = (x >= 0) & ((x < len(names)) | (len(names) == 0))
    return np.where(valid, x, conditions.NONE)
  unique, inverse = np.unique(values.astype(str), return_inverse=True)
  read_values = [
    choices.read_label(text, len(names), names, index=True) for text in unique
  ]
  return np.array(read_values, int)[inverse]


def _count(arrays, names, labels):
  """Returns the number of options of hard answers; 0 if it is unknown."""
  widths = [x.shape[1] for x in arrays.values() if x.ndim == 2]
  del labels
  return len(names) or max(widths, default=0)
