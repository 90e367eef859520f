"""Standardisation by the training split alone."""

from typing import NamedTuple

import numpy as np

from btw_jax.data import dataset as dataset_lib


class Scaler(NamedTuple):
  """What turns raw numbers into those that a model sees.

  Attributes:
    mean: `[M, D]` training means, zero-padded.
    inverse_std: `[M, D]`, 0 for a constant or padded column, which stays 0.
    target_mean: scalar, 0 unless the task is regression.
    target_std: scalar, 1 unless the task is regression.
  """

  mean: np.ndarray
  inverse_std: np.ndarray
  target_mean: np.ndarray
  target_std: np.ndarray


def fit(dataset: dataset_lib.Dataset) -> Scaler:
  """Means and standard deviations of the training examples.

  Args:
    dataset: its `train` split is read, no other.

  Returns:
    The scaler.
  """
  train = dataset.splits["train"]
  shape = (len(dataset.modalities), max(dataset.widths))
  mean, inverse_std = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for m, (modality, x) in enumerate(train.features.items()):
    x = x[train.present[modality]].astype(np.float64)
    std = x.std(axis=0)
    varies = np.any(x != x[:1], axis=0) & (std > 0)
    mean[m, : x.shape[1]] = x.mean(axis=0)
    inverse_std[m, : x.shape[1]] = np.where(
      varies, 1 / np.where(varies, std, 1), 0
    )
  target = train.target.astype(np.float64)
  regression = dataset.task == "regression"
  return Scaler(
    mean,
    inverse_std,
    np.asarray(target.mean() if regression else 0.0, np.float32),
    np.asarray(target.std() if regression else 1.0, np.float32),
  )
