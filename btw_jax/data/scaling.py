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
  shape = (len(train.widths), max(train.widths))
  moments = [_Moments(width) for width in train.widths]
  last_time = np.ones(shape[0], np.float32)
  for examples in train.chunks():
    for m, modality in enumerate(examples.modalities):
      moments[m].add(*_rows(examples, modality))
      steps = examples.steps.get(modality)
      if steps is not None and steps.times is not None:
        there = steps.inside(steps.times.shape[1])
        there &= examples.present[modality][:, None]
        last_time[m] = np.max(steps.times, initial=last_time[m], where=there)
  mean, inverse_std = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for m, found in enumerate(moments):
    width = train.widths[m]
    mean[m, :width], inverse_std[m, :width] = found.mean, found.inverse_std
  target = train.target.astype(np.float64)
  regression = dataset.task == "regression"
  return Scaler(
    mean,
    inverse_std,
    last_time,
    np.asarray(target.mean() if regression else 0.0, np.float32),
    np.asarray(target.std() if regression else 1.0, np.float32),
  )


def _rows(examples, modality):
  """`[n, D]` float64 of the steps that are there, and a mask or None."""
  x, present = examples.features[modality], examples.present[modality]
  if x.ndim == 2:
    return x[present].astype(np.float64), None
  steps = examples.steps[modality]
  there = steps.inside(x.shape[1]) & present[:, None]
  mask = None if steps.observed is None else steps.observed[there]
  return x[there].astype(np.float64), mask


class _Moments:
  """Mean and spread of each feature, of rows that come in parts.

  Parts are joined as in Chan, Golub & LeVeque (1983), "Algorithms for computing
  the sample variance".

  Attributes:
    mean: `[D]`, 0 where nothing is there.
  """

  def __init__(self, width):
    self.mean = np.zeros(width)
    self._count, self._squares = np.zeros(width), np.zeros(width)
    self._low, self._high = np.full(width, np.inf), np.full(width, -np.inf)

  def add(self, rows, mask):
    """Joins `[n, D]`, of which those count where the mask is True."""
    if not len(rows):
      return
    if mask is None:
      mask = np.broadcast_to(True, rows.shape)
    count = mask.sum(axis=0)
    mean = np.where(mask, rows, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(mask, (rows - mean) ** 2, 0).sum(axis=0)
    total = np.maximum(self._count + count, 1)
    apart = mean - self.mean
    self._squares += squares + apart**2 * self._count * count / total
    self.mean = self.mean + apart * count / total
    self._count += count
    low, high = np.where(mask, rows, np.inf), np.where(mask, rows, -np.inf)
    self._low = np.minimum(self._low, low.min(axis=0))
    self._high = np.maximum(self._high, high.max(axis=0))

  @property
  def inverse_std(self):
    """`[D]`, 0 where nothing varies, or nothing is there."""
    std = np.sqrt(self._squares / np.maximum(self._count, 1))
    varies = (self._low < self._high) & (std > 0)
    return np.where(varies, 1 / np.where(varies, std, 1), 0)
