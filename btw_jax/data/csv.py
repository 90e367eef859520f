"""One CSV file per modality and split, the label in the last column.

`{modality}_{train,valid,test}.csv`, or `.csv.gz`: no header, numbers quoted or
not, one row per example; rows line up across modalities.
"""

import gzip
import pathlib

import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib


def load(*, data_dir: str) -> tuple[dict[str, dataset_lib.Examples], None]:
  """Reads every split that has files.

  Args:
    data_dir: the folder.

  Returns:
    Splits, and no task: it is inferred.

  Raises:
    InputError: if a file is missing or unreadable, or labels disagree.
  """
  folder = pathlib.Path(data_dir)
  found = {s: _files(folder, s) for s in dataset_lib.SPLITS}
  found = {split: files for split, files in found.items() if files}
  if not found:
    raise types.InputError(
      f"{folder}: holds no '<modality>_<split>.csv' (or .csv.gz), split one of"
      f" {', '.join(dataset_lib.SPLITS)}: set --data_dir."
    )
  modalities = sorted(set().union(*found.values()))
  for split, files in found.items():
    for modality in modalities:
      if modality not in files:
        raise types.InputError(
          f"{folder / f'{modality}_{split}.csv'}: no such file, though another"
          " split has that modality: add it, or move the others away."
        )
  return {
    split: _read({m: files[m] for m in modalities})
    for split, files in found.items()
  }, None


def _files(folder, split):
  paths = sorted(folder.glob(f"*_{split}.csv")) + sorted(
    folder.glob(f"*_{split}.csv.gz")
  )
  return {
    path.name[: path.name.rindex(f"_{split}.csv")]: path for path in paths
  }


def _read(files):
  tables = {modality: _table(path) for modality, path in files.items()}
  first, reference = next(iter(tables.items()))
  for modality, table in tables.items():
    if len(table) != len(reference):
      raise types.InputError(
        f"{files[modality]}: has {len(table)} rows, but {files[first]} has"
        f" {len(reference)}: give the same examples in the same order."
      )
    differ = np.flatnonzero(table[:, -1] != reference[:, -1])
    if len(differ):
      row = differ[0]
      raise types.InputError(
        f"{files[modality]}: the label of row {row} is {table[row, -1]:g}, but"
        f" {reference[row, -1]:g} in {files[first]}: give the same examples in"
        " the same order."
      )
  return dataset_lib.complete(
    {modality: table[:, :-1] for modality, table in tables.items()},
    reference[:, -1],
    files={modality: str(path) for modality, path in files.items()},
    name=str(files[first]),
  )


def _table(path):
  opener = gzip.open if path.suffix == ".gz" else open
  try:
    with opener(path, "rt", encoding="utf-8") as lines:
      table = np.loadtxt(lines, delimiter=",", quotechar='"', ndmin=2)
  except (OSError, ValueError, EOFError) as error:
    reason = str(error).rstrip(".").partition(";")[0]
    raise types.InputError(
      f"{path}: cannot be read as numbers ({reason}): give rows of numbers,"
      " no header, the label last."
    ) from error
  if table.shape[1] < 2:
    raise types.InputError(
      f"{path}: has {table.shape[1]} column: give features, then the label."
    )
  return table
