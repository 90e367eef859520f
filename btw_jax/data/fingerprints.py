"""Fingerprints of arrays: equal ones mean equal content."""

from collections.abc import Iterable, Sequence
import hashlib
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
