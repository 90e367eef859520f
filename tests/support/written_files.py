"""Small data sets as other programs write them, two views that tell the label.

Each function writes train, valid and test splits of the sizes in `SIZES`.
"""

import functools
import pathlib

import numpy as np
import pandas as pd

SIZES = {"train": 30, "valid": 8, "test": 12}
_SEEDS = {"train": 1, "valid": 2, "test": 3}
WIDTHS = {"audio": 5, "video": 4}


def views(split, *, num_classes=2):
  """Returns modality -> `[N, D]` features of a split, and its `[N]` labels."""
  rng, n = np.random.default_rng(_SEEDS[split]), SIZES[split]
  # Every class is in every split.
  y = rng.permutation(np.arange(n) % num_classes)
  arrays = {m: y[:, None] + rng.normal(size=(n, w)) for m, w in WIDTHS.items()}
  return arrays, y


def frame(modality, split):
  """Returns the table of a modality: named features, then the label."""
  arrays, y = views(split)
  table = pd.DataFrame(arrays[modality])
  table.columns = [f"{modality[0]}{i}" for i in table.columns]
  return table.assign(label=y)


def tables(folder, write, *, suffix=".csv", make=frame):
  """Writes one table per modality and split by `write(table, path)`."""
  for split in SIZES:
    for modality in WIDTHS:
      path = pathlib.Path(folder, f"{modality}_{split}{suffix}")
      write(make(modality, split), path)


def csv(**options):
  """Returns a writer that calls pandas with options."""
  options = {"index": False, **options}
  return functools.partial(pd.DataFrame.to_csv, **options)


def numbered(table, path):
  """Writes a header of the numbers 0, 1, 2, ..."""
  numbers = range(table.shape[1])
  table.set_axis(numbers, axis=1).to_csv(path, index=False)


def first_missing(table, path, *, only=""):
  """Writes no header, and NA in the first row."""
  table = table.astype(object)
  if only in path.name:
    table.iloc[0, 1] = "NA"
  table.to_csv(path, index=False, header=False)


def repeated_names(table, path):
  """Writes a header in which a name occurs twice."""
  names = ["TP53", "BRCA1", "TP53", "EGFR", "MYC"][: table.shape[1] - 1]
  table.set_axis([*names, "label"], axis=1).to_csv(path, index=False)


def trailing_commas(table, path):
  """Writes a comma at the end of every line."""
  path.write_text(table.to_csv(index=False).replace("\n", ",\n"))


def nanoseconds(table, path):
  """Writes times as whole numbers beyond 2^53."""
  times = 1_700_000_000_000_000_001 + np.arange(len(table)) * 1_000_003
  table.insert(0, "recorded_ns", times)
  table.to_csv(path, index=False)


def empty_rows(table, path):
  """Writes rows 3 to 5 of one modality without values."""
  if "video" in path.name:
    table.iloc[3:6, :-1] = np.nan
  table.to_csv(path, index=False)


def shuffled(table, path):
  """Writes Parquet whose rows were shuffled: the index is stored."""
  table.sample(frac=1, random_state=5).to_parquet(path)


def named_index(table, path):
  """Writes Parquet with an index that has a name."""
  index = pd.Index(np.arange(len(table)) * 3 + 7, name="patient")
  table.set_axis(index).to_parquet(path)


def lists(table, path):
  """Writes Parquet with an id, and one column of vectors."""
  vectors = [row.tolist() for row in table.iloc[:, :-1].to_numpy()]
  ids = [f"{path.stem}"[6:] + f"{i}" for i in range(len(table))]
  fields = {"id": ids, "embedding": vectors, "label": table["label"]}
  pd.DataFrame(fields).to_parquet(path, index=False)


def arrays(folder, make):
  """Writes the arrays of `make(split)` to one npz file per split."""
  for split in SIZES:
    np.savez(pathlib.Path(folder, f"{split}.npz"), **make(split))


def labelled(split, values):
  """Returns the arrays of views whose classes are `values`."""
  features, y = views(split, num_classes=len(values))
  fields = {f"x_{m}": x for m, x in features.items()}
  return {**fields, "y": np.asarray(values)[y]}


def changed(split, **changes):
  """Returns arrays with fields that `changes` compute from the labels."""
  fields = labelled(split, (0, 1))
  return fields | {name: make(fields["y"]) for name, make in changes.items()}
