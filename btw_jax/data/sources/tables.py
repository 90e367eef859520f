"""Bring your own: one table per modality and split, as CSV or Parquet.

`{modality}_{train,valid,test}.csv` (or `.csv.gz`, or `.parquet`): one row per
example, rows line up across modalities. The label is the last column of every
table, or has a table of its own, `label_{split}`, of several columns if there
are several labels. A column named `id` names the examples. CSV may have a
header.
"""

from collections.abc import Sequence
import csv as std_csv
import gzip
import pathlib
from typing import NamedTuple

import numpy as np
import pyarrow
from pyarrow import csv
from pyarrow import parquet

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib

CSV = (".csv", ".csv.gz")
PARQUET = (".parquet",)
_LABEL = "label"
_NAMES = ("id", "subject")


class _Table(NamedTuple):
  """Numbers `[N, D]` of a file, and what else its columns say of its rows."""

  path: pathlib.Path
  values: np.ndarray
  names: dict[str, np.ndarray]


def load(*, path: str, suffixes: Sequence[str]) -> dataset_lib.LoadedSplits:
  """Reads every split that has files.

  Args:
    path: the folder.
    suffixes: of the files, `CSV` or `PARQUET`.

  Returns:
    The splits; the task is to be inferred.

  Raises:
    InputError: if a file is missing or unreadable, or labels disagree.
  """
  folder = pathlib.Path(path)
  found = {s: _files(folder, s, suffixes) for s in dataset_lib.SPLITS}
  found = {split: files for split, files in found.items() if files}
  if not found:
    raise errors.InputError(
      f"{folder}: holds no '<modality>_<split>{suffixes[0]}', split one of"
      f" {', '.join(dataset_lib.SPLITS)}: set --data_dir."
    )
  names = sorted(set().union(*found.values()))
  for split, files in found.items():
    for name in names:
      if name not in files:
        raise errors.InputError(
          f"{folder / f'{name}_{split}{suffixes[0]}'}: no such file, though"
          " another split has it: add it, or move the others away."
        )
  return dataset_lib.LoadedSplits(
    {s: _examples({n: files[n] for n in names}) for s, files in found.items()}
  )


def _files(folder, split, suffixes):
  found = {}
  for suffix in suffixes:
    end = f"_{split}{suffix}"
    for path in sorted(folder.glob(f"*{end}")):
      found.setdefault(path.name.removesuffix(end), path)
  return found


def _examples(files):
  read = {name: _table(path) for name, path in files.items()}
  labels = read.pop(_LABEL, None)
  first = next(iter(read.values()), None)
  if first is None:
    raise errors.InputError(
      f"{labels.path}: there are labels but no modality: add"
      " '<modality>_<split>' files."
    )
  target, source = (first.values[:, -1], first) if labels is None else (
    np.squeeze(labels.values, 1) if labels.values.shape[1] == 1
    else labels.values,
    labels,
  )  # fmt: skip
  names = {}
  for table in (source, *read.values()):
    _check(table, source, own_label=labels is None)
    names = {**table.names, **names}
  return dataset_lib.complete(
    {
      name: t.values[:, :-1] if labels is None else t.values
      for name, t in read.items()
    },
    target,
    ids=names.get("id"),
    subjects=names.get("subject"),
    files={name: str(table.path) for name, table in read.items()},
    name=str(source.path),
  )


def _check(table, other, *, own_label):
  """Checks that two tables are of the same examples in the same order."""
  if len(table.values) != len(other.values):
    raise errors.InputError(
      f"{table.path}: has {len(table.values)} rows, but {other.path} has"
      f" {len(other.values)}: give the same examples in the same order."
    )
  for what in set(table.names) & set(other.names):
    _same(what, table, other, table.names[what], other.names[what])
  if own_label:
    if table.values.shape[1] < 2:
      raise errors.InputError(
        f"{table.path}: has {table.values.shape[1]} column: give features, then"
        " the label."
      )
    _same("label", table, other, table.values[:, -1], other.values[:, -1])


def _same(what, table, other, values, expected):
  differ = np.flatnonzero(values != expected)
  if len(differ):
    row = differ[0]
    raise errors.InputError(
      f"{table.path}: the {what} of row {row} is {_text(values[row])}, but"
      f" {_text(expected[row])} in {other.path}: give the same examples in the"
      " same order."
    )


def _table(path):
  try:
    if path.suffix == ".parquet":
      read = parquet.read_table(path)
    else:
      options = csv.ReadOptions(autogenerate_column_names=not _has_header(path))
      read = csv.read_csv(path, read_options=options)
  except (OSError, EOFError, UnicodeDecodeError, pyarrow.ArrowException) as e:
    reason = " ".join(str(e).split()).rstrip(".")
    raise errors.InputError(
      f"{path}: cannot be read as a table ({reason}): give rows of numbers, the"
      " label last."
    ) from e
  names = {
    name: np.array(read.column(name).to_pylist()).astype(str)
    for name in _NAMES
    if name in read.column_names
  }
  read = read.drop_columns(list(names))
  columns = [_numbers(path, read, name) for name in read.column_names]
  if not columns:
    raise errors.InputError(
      f"{path}: has no column of numbers: give features, then the label."
    )
  return _Table(path, np.stack(columns, axis=1), names)


def _numbers(path, table, name):
  """A column as float64; an empty cell is NaN."""
  column = table.column(name)
  try:
    return column.cast(pyarrow.float64()).to_numpy()
  except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
    for row, value in enumerate(column.to_pylist()):
      if not _is_number(value):
        raise errors.InputError(
          f"{path}: row {row}, column {name!r} is {value!r}: give numbers, the"
          " label last."
        ) from None
    raise


def _has_header(path):
  opener = gzip.open if path.suffix == ".gz" else open
  with opener(path, "rt", encoding="utf-8") as lines:
    return any(not _is_number(v) for v in next(std_csv.reader(lines), []))


def _text(value):
  return str(value) if isinstance(value, str) else f"{value:g}"


def _is_number(value):
  try:
    float(value)
  except (TypeError, ValueError):
    return value in (None, "")
  return True
