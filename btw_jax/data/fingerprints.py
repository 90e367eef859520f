"""Fingerprints of arrays and folders: equal ones mean equal content."""

from collections.abc import Iterable, Sequence
import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from btw_jax.data import dataset as dataset_lib


def of_arrays(arrays: Iterable[Any]) -> str:
  """Returns a fingerprint of arrays and texts, in their order."""
  digest = hashlib.blake2b(digest_size=16)
  for array in arrays:
    array = np.ascontiguousarray(array)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.view(np.uint8).data if array.size else b"")
  return digest.hexdigest()


def of_folder(folder: str | os.PathLike) -> str:
  """Returns a fingerprint of the files in a folder, by their names."""
  digest = hashlib.blake2b(digest_size=16)
  for path in sorted(pathlib.Path(folder).iterdir()):
    if path.is_file():
      digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
      with path.open("rb") as file:
        while part := file.read(2**24):
          digest.update(part)
  return digest.hexdigest()


def of_examples(examples: Sequence[dataset_lib.Examples]) -> str:
  """Returns a fingerprint of the examples of several splits, in their order.

  It covers ids, targets, presence and features; of examples on disk it covers
  ids and targets only.
  """
  return of_arrays(array for one in examples for array in _arrays(one))


def _arrays(examples):
  yield np.array(examples.modalities)
  yield examples.ids
  if examples.target is not None:
    yield examples.target
  if not examples.on_disk:
    for modality, x in examples.features.items():
      present = examples.present[modality]
      yield present
      # Rows without the modality may hold any values.
      yield x if present.all() else x[present]
