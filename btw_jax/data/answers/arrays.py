"""The reader of arrays: `.npz`, a folder of `.npy`, or arrays in memory.

Each array is a condition named after it: `[N, C]` scores, `[N]` probabilities
of the second of two options, or `[N]` answers (whole numbers or texts).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any
import zipfile

import numpy as np

from btw_jax import errors
from btw_jax.data import limits
from btw_jax.data import npz_file
from btw_jax.data.answers import conditions
from btw_jax.data.answers import joining
from btw_jax.data.answers import labels as labels_lib
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
  options_read.check()
  return joining.join(
    _conditions(
      "arrays", dict(arrays), labels, ids, () if options is None else options,
      columns or {}, options_read,
    )
  )  # fmt: skip


def _load(path):
  """Returns name -> array."""
  remedy = (
    "write it again with numpy.savez or numpy.save, without object arrays;"
    " convert a log of inspect-ai to JSON"
  )
  if zipfile.is_zipfile(path):
    return npz_file.load(path, remedy)
  files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
  for file in files:
    limits.check_regular(file)
  try:
    return {file.stem: np.load(file, allow_pickle=False) for file in files}
  except npz_file.DAMAGE as error:
    raise errors.InputError(
      f"{path}: cannot be read as arrays: {remedy}."
    ) from error


def _take(arrays, names):
  """Removes the first array that has one of some names, and returns it."""
  return next((arrays.pop(name) for name in names if name in arrays), None)


def _conditions(file, arrays, labels, ids, names, columns, options):
  """Returns one condition per array."""
  arrays = {name: _squeeze(x) for name, x in arrays.items()}
  labels = None if labels is None else _squeeze(labels)
  n = len(next(iter(arrays.values()), ()))
  if not n:
    raise errors.InputError(
      f"{file}: holds no answers: give one array per condition, with a row for"
      " each question."
    )
  ids = np.arange(n) if ids is None else _squeeze(ids)
  columns = {name: _squeeze(x) for name, x in columns.items()}
  others = {**columns, "ids": ids}
  _check_lengths(
    file, {**arrays, **others, **({} if labels is None else {"labels": labels})}
  )
  names = _option_names(file, names, arrays, labels)
  count = _count(arrays, names)
  if labels is not None:
    labels = _labels(file, labels, names, count)
  shared = questions.Questions(
    file, ids.astype(str).tolist(), [f"row {row}" for row in range(n)],
    labels=labels, names=names,
    columns={name: x.astype(str).tolist() for name, x in columns.items()},
  )  # fmt: skip
  return [
    _condition(
      dataclasses.replace(shared, file=f"{file}, {name!r}", name=name),
      x, names, count, options,
    )
    for name, x in arrays.items()
  ]  # fmt: skip


def _check_lengths(file, arrays):
  """Checks that all arrays have the same number of rows as the first."""
  first, reference = next(iter(arrays.items()))
  for name, x in arrays.items():
    if len(x) != len(reference):
      raise errors.InputError(
        f"{file}: {name!r} has {len(x)} rows, but {first!r} has"
        f" {len(reference)}: give the same questions in each array."
      )


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
    return asked.decided(
      _positions(x, names, count, asked.where), np.full(len(x), count)
    )
  raise errors.InputError(
    f"{asked.file}: has shape {x.shape} of {x.dtype}: give [N, C] scores, [N]"
    " probabilities, or [N] answers."
  )


def _labels(file, labels, names, count):
  """Returns labels `[N]` as positions; refuses what is none of the options."""
  where = f"{file}, 'labels'"
  if labels.ndim != 1:
    raise errors.InputError(
      f"{where}: has shape {labels.shape}: give [N], the position of the right"
      " option, not one column for each option."
    )
  if labels.dtype.kind == "f" and np.any(labels[~np.isnan(labels)] % 1):
    raise errors.InputError(
      f"{where}: holds numbers with a fraction: give positions of options."
    )
  positions = _positions(
    labels, names, count, lambda row: f"{where}: row {row}"
  )
  if positions is None or np.all(positions == conditions.NONE):
    known = ", ".join(map(str, names[:6])) or "positions 0 to C - 1, or letters"
    raise errors.InputError(
      f"{where}: none is an option ({known}), for example {labels[0]!s}: give"
      " labels that are, or the names of the options as 'options'."
    )
  return positions


def _squeeze(x):
  """Returns an array; a single column is a vector.

  Raises:
    InputError: if rows have different lengths.
  """
  try:
    x = np.atleast_1d(np.asarray(x))
  except ValueError as error:
    raise errors.InputError(
      "arrays: the rows of one have different lengths: fill up short ones with"
      " NaN."
    ) from error
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


def _positions(values, names, count, where):
  """Returns answers or labels `[N]` as positions; None if all are unknown."""
  n = len(values)
  if values.dtype.kind in "iub" and values.max() < (count or np.inf):
    # Numbers in memory are positions, also if options are called by numbers.
    return np.where(values < 0, conditions.NONE, values.astype(np.int64))
  return labels_lib.read(
    values.tolist(), [count] * n, [names] * n, where, positions_first=True
  )


def _count(arrays, names):
  """Returns the number of options of hard answers; 0 if it is unknown."""
  widths = [x.shape[1] for x in arrays.values() if x.ndim == 2]
  binary = any(x.ndim == 1 and x.dtype.kind == "f" for x in arrays.values())
  return len(names) or max(widths, default=2 if binary else 0)
