"""The summary of a data set, in numbers that JSON can hold."""

from collections.abc import Mapping
import hashlib
from typing import Any

import numpy as np

from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import labels
from btw_jax.data import moments
from btw_jax.data import splitting

# The number of bins in a histogram of regression targets.
_BINS = 20


def describe(
  splits: Mapping[str, dataset_lib.Examples], task: str
) -> dict[str, Any]:
  """Summarises the sizes, labels, modalities and oddities of a data set.

  Returns:
    `splits`: split -> number of examples, labels (counts, or mean, std and a
    histogram), repeated ids and repeated examples; `modalities`: modality ->
    shape, and by split the missing share, mean, std, constant columns, median
    length and replaced values; `shared`: pairs of splits that have ids,
    examples or subjects in common.
  """
  hashes = {split: _hashes(examples) for split, examples in splits.items()}
  edges = None
  if task == "regression":
    targets = np.concatenate([e.target for e in splits.values()])
    edges = np.histogram_bin_edges(targets[np.isfinite(targets)], _BINS)
  return {
    "task": task,
    "splits": {
      split: {
        "examples": len(examples),
        "labels": _describe_labels(examples.target, task, edges),
        "repeated ids": _count_repeated(examples.ids),
        "repeated examples": _count_repeated(hashes[split]),
      }
      for split, examples in splits.items()
    },
    "modalities": {
      modality: _describe_modality(splits, modality)
      for modality in next(iter(splits.values())).features
    },
    "shared": _shared(splits, hashes),
  }


def _describe_labels(target, task, edges):
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
  names = labels.names(values)
  return {name: int(n) for name, n in zip(names, counts, strict=True)}


def _describe_modality(splits, modality):
  widest = max(e.features[modality].shape[1:] for e in splits.values())
  return {
    "shape": checks.describe_shape(widest),
    "splits": {
      split: {
        "missing": float(1 - examples.present[modality].mean()),
        **_describe_values(examples, modality),
        "replaced": int(examples.replaced.get(modality, 0)),
      }
      for split, examples in splits.items()
    },
  }


def _describe_values(examples, modality):
  """Summarises the finite, observed values of a modality in one split."""
  statistics = moments.Moments(examples.features[modality].shape[-1])
  for chunk in examples.chunks():
    values, mask = moments.valid_rows(chunk, modality)
    finite = np.isfinite(values)
    statistics.add(values, finite if mask is None else finite & mask)
  mean, std = statistics.overall()
  summary = {
    "mean": mean,
    "std": std,
    "constant columns": int(
      np.count_nonzero(statistics.low >= statistics.high)
    ),
  }
  present = examples.present[modality]
  if modality in examples.steps and present.any():
    lengths = examples.steps[modality].length[present]
    summary["median length"] = float(np.median(lengths))
  return summary


def _hashes(examples):
  """Returns one hash per example, over all that it holds except its id."""
  hashes = []
  for row in range(len(examples)):
    digest = hashlib.blake2b(np.atleast_1d(examples.target[row]).tobytes())
    for modality, x in examples.features.items():
      present = examples.present[modality][row]
      if not present:
        digest.update(b"-")
        continue
      values = x[row]
      # Padding depends on the other examples of the split.
      if modality in examples.steps:
        values = values[: examples.steps[modality].length[row]]
      digest.update(np.ascontiguousarray(values).tobytes())
    hashes.append(digest.hexdigest())
  return np.array(hashes, str)


def _count_repeated(names):
  return len(names) - len(set(names))


def _shared(splits, hashes):
  """Lists the ids, examples and subjects that two splits have in common."""
  names = list(splits)
  # Ids that are row numbers are equal in any two splits and mean nothing.
  ids = {
    s: set(e.ids)
    for s, e in splits.items()
    if not np.array_equal(e.ids, np.arange(len(e)).astype(str))
  }
  shared = []
  for i, first in enumerate(names):
    for second in names[i + 1 :]:
      row = {
        "splits": [first, second],
        "ids": len(ids.get(first, set()) & ids.get(second, set())),
        "examples": len(set(hashes[first]) & set(hashes[second])),
      }
      if any(list(row.values())[1:]):
        shared.append(row)
  subjects = {split: e.subjects for split, e in splits.items()}
  shared += [
    {"splits": [first, second], "subjects": count}
    for first, second, count in splitting.shared_subjects(subjects)
  ]
  return shared
