"""The loader of your own tables: one per modality and split, CSV or Parquet.

`{modality}_{train,valid,test}.csv` (or `.csv.gz`, or `.parquet`) has one row
per example; the rows of all modalities are in the same order. The label is the
last column of every table, or it has a separate table `label_{split}`, with
several columns for several labels. The optional columns `id` and `subject` name
the examples and their subjects. CSV files may have a header.
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
  """The content of a file.

  Attributes:
    path: the file.
    values: `[N, D]` columns of numbers.
    names: "id", "subject" -> `[N]` strings, for the columns that it has.
  """

  path: pathlib.Path
  values: np.ndarray
  names: dict[str, np.ndarray]


def load(*, path: str, suffixes: Sequence[str]) -> dataset_lib.LoadedSplits:
  """Reads every split that has files in the folder `path`; gives no task.

  The suffixes of the files are `CSV` or `PARQUET`.

  Raises:
    InputError: if a file is missing or unreadable, or labels disagree.
  """
  folder = pathlib.Path(path)
  splits = {s: _find_files(folder, s, suffixes) for s in dataset_lib.SPLITS}
  splits = {split: files for split, files in splits.items() if files}
  if not splits:
    raise errors.InputError(
      f"{folder}: holds no '<modality>_<split>{suffixes[0]}' (splits:"
      f" {', '.join(dataset_lib.SPLITS)}): name the folder that holds them."
    )
  names = sorted(set().union(*splits.values()))
  for split, files in splits.items():
    for name in names:
      if name not in files:
        raise errors.InputError(
          f"{folder / f'{name}_{split}{suffixes[0]}'}: no such file, but"
          " another split has this table: add it, or remove the table from all"
          " splits."
        )
  return dataset_lib.LoadedSplits(
    {
      split: _read_split({name: files[name] for name in names})
      for split, files in splits.items()
    }
  )


def _find_files(folder, split, suffixes):
  """Returns table name -> path of a split."""
  paths = {}
  for suffix in suffixes:
    end = f"_{split}{suffix}"
    for path in sorted(folder.glob(f"*{end}")):
      paths.setdefault(path.name.removesuffix(end), path)
  return paths


def _read_split(files):
  tables = {name: _read_table(path) for name, path in files.items()}
  labels = tables.pop(_LABEL, None)
  first = next(iter(tables.values()), None)
  if first is None:
    raise errors.InputError(
      f"{labels.path}: there are labels but no modality: add"
      " '<modality>_<split>' files."
    )
  if labels is None:
    target_table, target = first, first.values[:, -1]
  else:
    target_table, target = labels, labels.values
    if target.shape[1] == 1:
      target = target[:, 0]
  names = {}
  for table in (target_table, *tables.values()):
    _check_same_rows(table, target_table, label_is_last=labels is None)
    names = {**table.names, **names}
  return dataset_lib.complete(
    {
      name: t.values[:, :-1] if labels is None else t.values
      for name, t in tables.items()
    },
    target,
    ids=names.get("id"),
    subjects=names.get("subject"),
    files={name: str(table.path) for name, table in tables.items()},
    name=str(target_table.path),
  )


def _check_same_rows(table, reference, *, label_is_last):
  """Checks that a table has the examples of a reference table, in its order."""
  if len(table.values) != len(reference.values):
    raise errors.InputError(
      f"{table.path}: has {len(table.values)} rows, but {reference.path} has"
      f" {len(reference.values)}: give the same examples in the same order."
    )
  for column in set(table.names) & set(reference.names):
    _check_equal(
      column, table, reference, table.names[column], reference.names[column]
    )
  if label_is_last:
    if table.values.shape[1] < 2:
      raise errors.InputError(
        f"{table.path}: has {table.values.shape[1]} column: give features, then"
        " the label."
      )
    _check_equal(
      "label", table, reference, table.values[:, -1], reference.values[:, -1]
    )


def _check_equal(column, table, reference, values, expected):
  differ = np.flatnonzero(values != expected)
  if len(differ):
    row = differ[0]
    raise errors.InputError(
      f"{table.path}: the {column} of row {row} is {_text(values[row])}, but"
      f" {_text(expected[row])} in {reference.path}: give the same examples in"
      " the same order."
    )


def _read_table(path):
  try:
    if path.suffix == ".parquet":
      table = parquet.read_table(path)
    else:
      options = csv.ReadOptions(autogenerate_column_names=not _has_header(path))
      table = csv.read_csv(path, read_options=options)
  except (OSError, EOFError, UnicodeDecodeError, pyarrow.ArrowException) as e:
    reason = " ".join(str(e).split()).rstrip(".")
    raise errors.InputError(
      f"{path}: cannot be read as a table ({reason}): give rows of numbers, the"
      " label last."
    ) from e
  names = {
    name: np.array(table.column(name).to_pylist()).astype(str)
    for name in _NAMES
    if name in table.column_names
  }
  table = table.drop_columns(list(names))
  columns = [_read_numbers(path, table, name) for name in table.column_names]
  if not columns:
    raise errors.InputError(
      f"{path}: has no column of numbers: give features, then the label."
    )
  return _Table(path, np.stack(columns, axis=1), names)


def _read_numbers(path, table, name):
  """Returns a column as float64; an empty cell is NaN."""
  column = table.column(name)
  try:
    return column.cast(pyarrow.float64()).to_numpy()
  except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
    # pyarrow does not name the row: find the first value that is no number.
    for row, value in enumerate(column.to_pylist()):
      if not _is_number(value):
        raise errors.InputError(
          f"{path}: row {row}, column {name!r} is {value!r}: give numbers, the"
          " label last."
        ) from None
    raise


def _has_header(path):
  """Returns True if a value of the first line is not a number."""
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
