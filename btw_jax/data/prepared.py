"""Data sets that `experiments.prepare_data` has converted to records."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import records
from btw_jax.data import streaming

_PREFIX = "tfds:"
# What the converter leaves beside the records; other data sets lack it.
KEY = "btw_jax"


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A data set on disk.

  Attributes:
    task: name of the task; None to infer it from the labels.
    readers: split -> its records.
    summary: of `describe.describe`.
    notes: lines that a reader of the log should see.
  """

  task: str | None
  readers: Mapping[str, records.Reader]
  summary: Mapping[str, Any]
  notes: tuple[str, ...]

  @property
  def num_bytes(self) -> int:
    """Of all features in memory, sequences padded to the longest."""
    return sum(
      4 * len(reader) * max(own.num_steps, 1) * own.width
      for reader in self.readers.values()
      for own in reader.layout.values()
    )


def named(name: str) -> str | None:
  """The prepared data set that a name means.

  Args:
    name: of a data set, as flags give it.

  Returns:
    What is behind "tfds:", or None if it means a source.
  """
  rest = name.removeprefix(_PREFIX)
  return None if rest in ("", name) else rest


def find(data_dir: str, name: str) -> pathlib.Path:
  """The folder of a data set's newest version.

  Args:
    data_dir: that it was prepared in.
    name: of the data set.

  Returns:
    The folder.

  Raises:
    InputError: if it is not there.
  """
  root = pathlib.Path(data_dir)
  found = sorted(root.glob(f"{name}/*.*.*/dataset_info.json"))
  found = [
    p.parent for p in found if not p.parent.name.startswith("incomplete")
  ]
  if not found:
    have = sorted({p.parts[-3] for p in root.glob("*/*.*.*/dataset_info.json")})
    raise errors.InputError(
      f"{root}: holds no prepared data set {name!r}, but"
      f" {', '.join(have) or 'none at all'}: set --data_dir, or run"
      " python -m experiments.prepare_data."
    )
  return max(found, key=lambda p: [int(part) for part in p.name.split(".")])


def open_records(data_dir: str, name: str) -> Prepared:
  """Opens a data set without reading its examples.

  Args:
    data_dir: that it was prepared in.
    name: of the data set.

  Returns:
    The data set.

  Raises:
    InputError: if it is not there, or not of this project.
  """
  # Takes longer to import than most data sets to read.
  import tensorflow_datasets as tfds

  folder = find(data_dir, name)
  info = tfds.builder_from_directory(folder).info
  about = (info.metadata or {}).get(KEY)
  if about is None:
    raise errors.InputError(
      f"{folder}: was not written by experiments.prepare_data: convert it to"
      " npz, then prepare that."
    )
  layout = {
    m: records.RecordSchema(**own) for m, own in about["layout"].items()
  }
  readers = {
    split: records.Reader(
      [str(path) for path in info.splits[split].filepaths],
      layout,
      about["target_shape"],
      subjects=about["subjects"],
      name=str(folder),
    )
    for split in dataset_lib.SPLITS
    if split in info.splits
  }
  for split, reader in readers.items():
    expected = info.splits[split].num_examples
    if len(reader) != expected:
      raise errors.InputError(
        f"{folder}: split {split!r} has {len(reader)} of {expected} records:"
        " prepare it again."
      )
  return Prepared(
    about["task"], readers, about["summary"], tuple(about["notes"])
  )


def load(*, path: str, name: str) -> dataset_lib.LoadedSplits:
  """Reads all splits into memory.

  Args:
    path: the folder that it was prepared in.
    name: of the data set.

  Returns:
    The splits and the task.

  Raises:
    InputError: if it is not there, or cannot be read.
  """
  found = open_records(path, name)
  return dataset_lib.LoadedSplits(
    {s: r.read(np.arange(len(r))) for s, r in found.readers.items()},
    found.task,
    found.notes,
    found.summary,
  )


def stream(*, path: str, name: str) -> dataset_lib.LoadedSplits:
  """All splits, their features left on disk.

  Args:
    path: the folder that it was prepared in.
    name: of the data set.

  Returns:
    Splits of `streaming.Streamed`, and the task.

  Raises:
    InputError: if it is not there, or cannot be read.
  """
  found = open_records(path, name)
  return dataset_lib.LoadedSplits(
    {s: streaming.open_split(r) for s, r in found.readers.items()},
    found.task,
    found.notes,
    found.summary,
  )
