"""The data sets that `experiments.prepare_data` has converted to records."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import records
from btw_jax.data import streaming

# The metadata that the converter stores under this key; other data sets that
# TFDS has written lack it.
KEY = "btw_jax"


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A prepared data set on disk.

  Attributes:
    task: name of the task; None to infer it from the labels.
    readers: split -> reader of its records.
    summary: the result of `describe.describe`.
    notes: lines for the log.
  """

  task: str | None
  readers: Mapping[str, records.Reader]
  summary: Mapping[str, Any]
  notes: tuple[str, ...]

  @property
  def num_bytes(self) -> int:
    """The size of all features in memory, padded to the longest sequence."""
    return sum(
      4 * len(reader) * max(schema.num_steps, 1) * schema.width
      for reader in self.readers.values()
      for schema in reader.schemas.values()
    )


def find(data_dir: str, name: str) -> pathlib.Path:
  """Returns the folder of the newest version of a prepared data set.

  Raises:
    InputError: if `data_dir` does not have the data set.
  """
  root = pathlib.Path(data_dir)
  files = sorted(root.glob(f"{name}/*.*.*/dataset_info.json"))
  folders = [
    p.parent for p in files if not p.parent.name.startswith("incomplete")
  ]
  if not folders:
    names = {p.parts[-3] for p in root.glob("*/*.*.*/dataset_info.json")}
    raise errors.InputError(
      f"{root}: has no prepared data set {name!r}; it has"
      f" {', '.join(sorted(names)) or 'none'}: set --data_dir, or run"
      " the program prepare."
    )
  return max(folders, key=lambda p: [int(part) for part in p.name.split(".")])


def open_records(data_dir: str, name: str) -> Prepared:
  """Opens a prepared data set without reading its examples.

  Raises:
    InputError: if `data_dir` does not have the data set, or a file is damaged.
  """
  # This import takes longer than reading most data sets.
  import tensorflow_datasets as tfds

  folder = find(data_dir, name)
  info = tfds.builder_from_directory(folder).info
  metadata = (info.metadata or {}).get(KEY)
  if metadata is None:
    raise errors.InputError(
      f"{folder}: was not written by the program prepare: convert it to"
      " npz, then prepare that."
    )
  schemas = {
    m: records.RecordSchema(**sizes) for m, sizes in metadata["layout"].items()
  }
  readers = {
    split: records.Reader(
      [str(path) for path in info.splits[split].filepaths],
      schemas,
      metadata["target_shape"],
      subjects=metadata["subjects"],
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
    metadata["task"], readers, metadata["summary"], tuple(metadata["notes"])
  )


def load(*, path: str, name: str) -> dataset_lib.LoadedSplits:
  """Reads all splits of a prepared data set into memory."""
  stored = open_records(path, name)
  return dataset_lib.LoadedSplits(
    {s: r.read(np.arange(len(r))) for s, r in stored.readers.items()},
    stored.task,
    stored.notes,
    stored.summary,
  )


def stream(*, path: str, name: str) -> dataset_lib.LoadedSplits:
  """Opens all splits as `streaming.Streamed`: their features stay on disk."""
  stored = open_records(path, name)
  return dataset_lib.LoadedSplits(
    {s: streaming.open_split(r) for s, r in stored.readers.items()},
    stored.task,
    stored.notes,
    stored.summary,
  )
