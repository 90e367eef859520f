"""The folders of several omics of the same patients that MOGONET reads.

`{number}_tr.csv` and `{number}_te.csv` hold a modality, a row per patient, and
`labels_tr.csv` and `labels_te.csv` a class per row. They are numbers without a
header. `{number}_featname.csv`, which may be missing, has the name of each
feature in a line of its own. There is no validation split.
"""

import pathlib
import re

from btw_jax import errors
from btw_jax.data import columns as columns_lib
from btw_jax.data import dataset as dataset_lib
from btw_jax.data.sources import table_files

_SPLITS = {"train": "tr", "test": "te"}
_OMICS = re.compile(r"(\d+)_(tr|te)\.csv")
# The first column of these files is a feature, whatever its numbers are.
_RULES = table_files.Rules(
  header="no", index="none", separator=",", decimal="."
)


def load(*, path: str, labelled: bool = True) -> dataset_lib.LoadedSplits:
  """Reads both splits of the folder `path`, or the one that has files.

  `labelled` requires labels.

  Raises:
    InputError: if a file is missing or unreadable, or has other rows or
      columns than another one.
  """
  folder, notes = pathlib.Path(path), []
  numbers = sorted({n for n, _ in _names(folder)}, key=int)
  if not numbers:
    raise errors.InputError(
      f"{folder}: holds no '1_tr.csv' or '1_te.csv': name the folder that holds"
      " them."
    )
  existing = {end for _, end in _names(folder)}
  splits = {
    split: _read_split(folder, end, numbers, labelled, notes)
    for split, end in _SPLITS.items()
    if end in existing
  }
  return dataset_lib.LoadedSplits(splits, notes=tuple(dict.fromkeys(notes)))


def _names(folder):
  """Returns number and ending of each file of omics."""
  files = folder.iterdir() if folder.is_dir() else ()
  matches = (_OMICS.fullmatch(file.name) for file in files)
  return [match.groups() for match in matches if match]


def _read_split(folder, end, numbers, labelled, notes):
  """Returns the examples of the files that have an ending, "tr" or "te"."""
  tables = {
    n: table_files.read(_find(folder, f"{n}_{end}.csv"), _RULES)
    for n in numbers
  }
  features = {f"omics{n}": table.features() for n, table in tables.items()}
  target, target_path = None, folder / f"labels_{end}.csv"
  if labelled or target_path.exists():
    target = _read_labels(_find(folder, target_path.name))
  names = {}
  for n, table in tables.items():
    names[f"omics{n}"], note = _feature_names(folder, n, table)
    notes.extend(f"omics{n}: {text}" for text in (*table.notes, *note))
  return dataset_lib.complete(
    features,
    target,
    files={f"omics{n}": str(table.path) for n, table in tables.items()},
    columns={modality: given for modality, given in names.items() if given},
    name=str(target_path),
  )


def _find(folder, name):
  """Returns the path of a file; raises `InputError` if there is none."""
  if not (folder / name).is_file():
    raise errors.InputError(
      f"{folder / name}: no such file, but the folder has others of its kind:"
      " add it."
    )
  return folder / name


def _read_labels(path):
  """Returns the labels `[N]` of a file."""
  columns = list(table_files.read(path, _RULES).values.values())
  if len(columns) > 1 or columns[0].ndim > 1:
    raise errors.InputError(
      f"{path}: has {len(columns)} columns: give one label per row."
    )
  return columns[0]


def _feature_names(folder, number, table):
  """Returns the names of the features of a modality, and notes, if any."""
  path = folder / f"{number}_featname.csv"
  if not path.exists():
    return (), ()
  names, width = table_files.read_lines(path), len(table.values)
  if len(names) != width:
    raise errors.InputError(
      f"{path}: has {len(names)} names, but {table.path} has {width} columns:"
      " give a name for each."
    )
  unique = columns_lib.unique(names)
  return unique, () if unique else (f"{path.name} repeats a name: not used",)
