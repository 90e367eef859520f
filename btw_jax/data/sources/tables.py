"""The loader of your own tables: one per modality and split, CSV or Parquet.

`{modality}_{train,valid,test}.csv` (or `.csv.gz`, or `.parquet`) has one row
per example; the rows of all modalities are in the same order. The label, a
number or a word, is the last column of every table, or a column of a given
name, or it has a separate table `label_{split}`, with several columns for
several labels. The optional columns `id` and `subject` name the examples and
their subjects. CSV files may have a header.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data.sources import table_files

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet",)
_LABEL = "label"


def load(
  *,
  path: str,
  suffixes: Sequence[str],
  rules: table_files.Rules = table_files.Rules(),  # noqa: B008, it is immutable
  widths: Mapping[str, int] | None = None,
) -> dataset_lib.LoadedSplits:
  """Reads every split that has files in the folder `path`; gives no task.

  Args:
    path: the folder.
    suffixes: of the files, `CSV` or `PARQUET`.
    rules: how the tables are read, and the columns that are no features.
    widths: modality -> its number of features, to read features only and to
      leave labels out, in tables with or without them; None if all tables have
      labels.

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

  notes = []

  def read(files):
    tables = {name: table_files.read(files[name], rules) for name in names}
    notes.extend(f"{name}: {n}" for name, t in tables.items() for n in t.notes)
    labels = tables.pop(_LABEL, None)
    if not tables:
      raise errors.InputError(
        f"{labels.path}: there are labels but no modality: add"
        " '<modality>_<split>' files."
      )
    if widths is not None:
      return _without_labels(tables, rules.label, widths)
    if labels is None and not rules.label:
      notes.append(_note_label(tables))
    return _with_labels(tables, rules.label, labels)

  loaded = {split: read(files) for split, files in splits.items()}
  return dataset_lib.LoadedSplits(loaded, notes=tuple(dict.fromkeys(notes)))


def _find_files(folder, split, suffixes):
  """Returns table name -> path of a split."""
  paths = {}
  for suffix in suffixes:
    end = f"_{split}{suffix}"
    for path in sorted(folder.glob(f"*{end}")):
      paths.setdefault(path.name.removesuffix(end), path)
  return paths


def _with_labels(tables, label, label_table):
  """Returns the examples of a split: modality -> table, and their labels."""
  if label_table is not None:
    target_table = label_table
    if len(label_table.values) > 1:
      target = label_table.features()
    else:
      _, target = _take_label(label_table, "")
      _check_labels(label_table, target)
  else:
    having = {
      name: table
      for name, table in tables.items()
      if not label or label in table.values
    }
    if not having:
      path = next(iter(tables.values())).path
      raise errors.InputError(
        f"--label={label}: {path} has no such column, nor has another table of"
        " the split: name a column of its header."
      )
    target_table = next(iter(having.values()))
    _, target = _take_label(target_table, label)
    for name, table in having.items():
      rest, column = _take_label(table, label)
      rest.check_has_columns()
      _check_labels(table, column)
      _check_same_rows(table, target_table)
      _check_equal("label", table, target_table, column, target)
      tables = {**tables, name: rest}
  return _join(tables, target_table, target)


def _note_label(tables):
  """Says which column is the label; refuses another one called "label"."""
  shown = ""
  for table in tables.values():
    *others, last = table.values
    shown = f", {last!r}" if table.has_header else ""
    if _LABEL in others:
      raise errors.InputError(
        f"{table.path}: the column {_LABEL!r} is not the last: set"
        f" --label={_LABEL}, or the name of the column of labels."
      )
  return f"label: the last column of every table{shown}; see --label"


def _without_labels(tables, label, widths):
  """Returns the examples of a split without their labels, if it has any."""
  tables = {
    name: _take_label(table, label)[0]
    if label in table.values
    or (not label and len(table.values) == widths.get(name, 0) + 1)
    else table
    for name, table in tables.items()
  }
  return _join(tables, next(iter(tables.values())), None)


def _join(tables, reference, target):
  """Joins tables of features, modality -> table, to examples."""
  names = {}
  for table in (reference, *tables.values()):
    _check_same_rows(table, reference)
    names = {**table.names, **names}
  return dataset_lib.complete(
    {name: table.features() for name, table in tables.items()},
    target,
    ids=names.get("id"),
    subjects=names.get("subject"),
    files={name: str(table.path) for name, table in tables.items()},
    columns={
      name: table.feature_names()
      for name, table in tables.items()
      if table.has_header
    },
    name=str(reference.path),
  )


def _take_label(table, label):
  """Splits a table into its other columns and its label column `[N]`."""
  values = dict(table.values)
  target = values.pop(label or list(values)[-1])
  return dataclasses.replace(table, values=values), target


def _check_labels(table, target):
  """Checks that no label that is a word is empty."""
  empty = np.flatnonzero(target == "") if target.dtype.kind == "U" else []
  if len(empty):
    raise errors.InputError(
      f"{table.path}: the label of row {empty[0]} is empty: give every label."
    )


def _check_same_rows(table, reference):
  """Checks that a table has the examples of a reference table, in its order."""
  if len(table) != len(reference):
    raise errors.InputError(
      f"{table.path}: has {len(table)} rows, but {reference.path} has"
      f" {len(reference)}: give the same examples in the same order."
    )
  for column in set(table.names) & set(reference.names):
    _check_equal(
      column, table, reference, table.names[column], reference.names[column]
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


def _text(value):
  return str(value) if isinstance(value, str) else f"{value:g}"
