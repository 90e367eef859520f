"""What a data set looks like, in numbers that JSON can hold."""

from collections.abc import Mapping
import hashlib
from typing import Any

import numpy as np

from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import moments
from btw_jax.data import splitting

# Of a histogram of targets.
_BINS = 20


def describe(
  splits: Mapping[str, dataset_lib.Examples], task: str
) -> dict[str, Any]:
  """Sizes, labels and modalities of a data set, and what is odd about it.

  Args:
    splits: as a source yields them.
    task: name of the task.

  Returns:
    `splits`: split -> examples, labels (counts, or mean, std and a histogram),
    ids and examples that repeat; `modalities`: modality -> shape, and by split
    the share missing, mean, std, constant columns, median length and values
    replaced; `shared`: splits that have ids, examples or subjects in common.
  """
  hashes = {split: _hashes(examples) for split, examples in splits.items()}
  every = np.concatenate([e.target for e in splits.values()])
  edges = np.histogram_bin_edges(every[np.isfinite(every)], _BINS)
  return {
    "task": task,
    "splits": {
      split: {
        "examples": len(examples),
        "labels": _labels(examples.target, task, edges),
        "repeated ids": _repeated(examples.ids),
        "repeated examples": _repeated(hashes[split]),
      }
      for split, examples in splits.items()
    },
    "modalities": {
      modality: _modality(splits, modality)
      for modality in next(iter(splits.values())).features
    },
    "shared": _shared(splits, hashes),
  }


def _labels(target, task, edges):
  if task == "regression":
    return {
      "mean": float(target.mean()),
      "std": float(target.std()),
      "edges": [float(edge) for edge in edges],
      "counts": np.histogram(target, edges)[0].tolist(),
    }
  if task == "multilabel":
    return {str(c): int(n) for c, n in enumerate(target.sum(axis=0))}
  values, counts = np.unique(target, return_counts=True)
  return {f"{v:g}": int(n) for v, n in zip(values, counts, strict=True)}


def _modality(splits, modality):
  widest = max(e.features[modality].shape[1:] for e in splits.values())
  return {
    "shape": checks.in_words(widest),
    "splits": {
      split: {
        "missing": float(1 - examples.present[modality].mean()),
        **_values(examples, modality),
        "replaced": int(examples.replaced.get(modality, 0)),
      }
      for split, examples in splits.items()
    },
  }


def _values(examples, modality):
  """Mean and std of all values that are there, and columns without spread."""
  found = moments.Moments(examples.features[modality].shape[-1])
  for part in examples.chunks():
    values, mask = moments.rows(part, modality)
    finite = np.isfinite(values)
    found.add(values, finite if mask is None else finite & mask)
  mean, std = found.overall()
  shown = {
    "mean": mean,
    "std": std,
    "constant columns": int(np.count_nonzero(found.low >= found.high)),
  }
  present = examples.present[modality]
  if modality in examples.steps and present.any():
    lengths = examples.steps[modality].length[present]
    shown["median length"] = float(np.median(lengths))
  return shown


def _hashes(examples):
  """One per example, of all that it holds but its name."""
  found = []
  for row in range(len(examples)):
    digest = hashlib.blake2b(np.atleast_1d(examples.target[row]).tobytes())
    for modality, x in examples.features.items():
      present = examples.present[modality][row]
      if not present:
        digest.update(b"-")
        continue
      own = x[row]
      if modality in examples.steps:
        own = own[: examples.steps[modality].length[row]]
      digest.update(np.ascontiguousarray(own).tobytes())
    found.append(digest.hexdigest())
  return np.array(found, str)


def _repeated(names):
  return len(names) - len(set(names))


def _shared(splits, hashes):
  names = list(splits)
  # Row numbers are names of nothing.
  ids = {
    s: set(e.ids)
    for s, e in splits.items()
    if not np.array_equal(e.ids, np.arange(len(e)).astype(str))
  }
  found = []
  for i, first in enumerate(names):
    for second in names[i + 1 :]:
      row = {
        "splits": [first, second],
        "ids": len(ids.get(first, set()) & ids.get(second, set())),
        "examples": len(set(hashes[first]) & set(hashes[second])),
      }
      if any(list(row.values())[1:]):
        found.append(row)
  subjects = {split: e.subjects for split, e in splits.items()}
  found += [
    {"splits": [first, second], "subjects": count}
    for first, second, count in splitting.shared_subjects(subjects)
  ]
  return found
