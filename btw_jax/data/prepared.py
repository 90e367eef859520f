"""The data sets that `experiments.prepare_data` has converted to records."""

from collections.abc import Mapping
import dataclasses
import json
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

_FEATURES = "features.json"
# TFDS imports the module of any class that a file of features names. The
# converter writes these, and the part of the file that describes each.
_CLASSES = {
  f"tensorflow_datasets.core.features.{name}": part
  for name, part in (
    ("features_dict.FeaturesDict", "featuresDict"),
    ("scalar.Scalar", "tensor"),
    ("tensor_feature.Scalar", "tensor"),
    ("tensor_feature.Tensor", "tensor"),
    ("text_feature.Text", "text"),
  )
}
# The converter nests two mappings: the modalities, and the fields of one.
_MAX_NESTING = 8


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
    p.parent
    for p in files
    if all(part.isdecimal() for part in p.parent.name.split("."))
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
  check_features(folder)
  try:
    metadata, info = _read_info(folder, tfds)
    readers = _open_readers(folder, metadata, info)
    summary, notes = metadata["summary"], tuple(metadata["notes"])
    task = metadata["task"]
  except errors.InputError:
    raise
  # TFDS and damaged content can raise an exception of any type.
  except Exception as error:
    raise errors.InputError(
      f"{folder}: dataset_info.json, {_FEATURES} or metadata.json is damaged"
      f" ({_line(error)}): prepare it again."
    ) from error
  for split, reader in readers.items():
    expected = info.splits[split].num_examples
    if len(reader) != expected:
      raise errors.InputError(
        f"{folder}: split {split!r} has {len(reader)} of {expected} records:"
        " prepare it again."
      )
  return Prepared(task, readers, summary, notes)


def check_features(folder: pathlib.Path) -> None:
  """Checks the file of features before TFDS imports what it names.

  Raises:
    InputError: if it is missing or damaged, or names a class that the
      converter does not write.
  """
  path = folder / _FEATURES
  try:
    content = json.loads(
      path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats
    )
    _check_feature(content, 0)
  except errors.InputError as error:
    raise errors.InputError(f"{path}: {error}.") from error
  except (OSError, ValueError, RecursionError) as error:
    raise errors.InputError(
      f"{path}: cannot be read ({_line(error)}): prepare the data set again."
    ) from error


def _check_feature(feature, nesting):
  """Raises an error unless a feature is one that the converter writes."""
  if not isinstance(feature, dict) or nesting > _MAX_NESTING:
    raise ValueError("it does not describe features")
  name = feature.get("pythonClassName")
  if not isinstance(name, str) or name not in _CLASSES:
    raise errors.InputError(
      f"names the class {str(name)[:80]!a}, which was not imported: use only"
      " data sets that the program prepare has written"
    )
  part = _CLASSES[name]
  if set(feature) - {"pythonClassName", "description", part}:
    raise ValueError(f"it describes {name.rpartition('.')[2]} in other words")
  if part == "featuresDict":
    for nested in feature[part]["features"].values():
      _check_feature(nested, nesting + 1)


def _without_repeats(pairs):
  """Returns a mapping; TFDS might take another one of two equal keys."""
  if len(dict(pairs)) < len(pairs):
    raise ValueError("it has a key twice")
  return dict(pairs)


def _read_info(folder, tfds):
  """Returns the metadata of the converter and the information of TFDS."""
  info = tfds.builder_from_directory(folder).info
  metadata = (info.metadata or {}).get(KEY)
  if metadata is None:
    raise errors.InputError(
      f"{folder}: was not written by the program prepare: convert it to"
      " npz, then prepare that."
    )
  return metadata, info


def _open_readers(folder, metadata, info):
  """Returns split -> reader of its records."""
  schemas = {
    m: records.RecordSchema(**sizes) for m, sizes in metadata["layout"].items()
  }
  for sizes in metadata["layout"].values():
    if any(type(n) not in (int, bool) or n < 0 for n in sizes.values()):
      raise ValueError("a modality has no valid sizes")
  return {
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


def _line(error):
  """Returns the message of an error as one short line that can be printed."""
  text = " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__
  return "".join(c if c.isprintable() else "?" for c in text)


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
