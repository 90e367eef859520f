"""Standardisation by the training split alone."""

from typing import NamedTuple

import numpy as np

from btw_jax.data import dataset as dataset_lib


class Scaler(NamedTuple):
  """What turns raw numbers into those that a model sees.

  Attributes:
    mean: `[M, D]` training means, zero-padded.
    inverse_std: `[M, D]`, 0 for a constant or padded column, which stays 0.
    last_time: `[M]` latest time of a step in training; 1 where none is later.
    target_mean: scalar, 0 unless the task is regression.
    target_std: scalar, 1 unless the task is regression.
  """

  mean: np.ndarray
  inverse_std: np.ndarray
  last_time: np.ndarray
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
  last_time = np.ones(shape[0], np.float32)
  for m, (modality, x) in enumerate(train.features.items()):
    width = x.shape[-1]
    mean[m, :width], inverse_std[m, :width] = _moments(train, modality)
    steps = train.steps.get(modality)
    if steps is not None and steps.times is not None:
      inside = steps.inside(x.shape[1])
      inside &= train.present[modality][:, None]
      last_time[m] = np.max(steps.times, initial=1.0, where=inside)
  target = train.target.astype(np.float64)
  regression = dataset.task == "regression"
  return Scaler(
    mean,
    inverse_std,
    last_time,
    np.asarray(target.mean() if regression else 0.0, np.float32),
    np.asarray(target.std() if regression else 1.0, np.float32),
  )


def _moments(examples, modality):
  """Mean and inverse standard deviation of each feature, where it is there."""
  x, present = examples.features[modality], examples.present[modality]
  if x.ndim == 2:
    return _of_rows(x[present])
  there = examples.observed(modality)[present]
  if examples.steps[modality].observed is None:
    return _of_rows(x[present][there[..., 0]])
  each = [
    _of_rows(x[present][there[..., d], d][:, None]) for d in range(x.shape[2])
  ]
  return tuple(np.concatenate(column) for column in zip(*each, strict=True))


def _of_rows(rows):
  """Of `[n, D]`; 0 where nothing varies, or nothing is there."""
  if not len(rows):
    return np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
  rows = rows.astype(np.float64)
  std = rows.std(axis=0)
  varies = np.any(rows != rows[:1], axis=0) & (std > 0)
  return rows.mean(axis=0), np.where(varies, 1 / np.where(varies, std, 1), 0)
