"""Standardisation by the training split alone."""

from typing import NamedTuple

import numpy as np

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import moments


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
  found = [moments.Moments(width) for width in train.widths]
  last_time = np.ones(shape[0], np.float32)
  for examples in train.chunks():
    for m, modality in enumerate(examples.modalities):
      found[m].add(*moments.rows(examples, modality))
      steps = examples.steps.get(modality)
      if steps is not None and steps.times is not None:
        there = steps.inside(steps.times.shape[1])
        there &= examples.present[modality][:, None]
        last_time[m] = np.max(steps.times, initial=last_time[m], where=there)
  mean, inverse_std = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for m, own in enumerate(found):
    width = train.widths[m]
    mean[m, :width], inverse_std[m, :width] = own.mean, own.inverse_std
  target = train.target.astype(np.float64)
  regression = dataset.task == "regression"
  return Scaler(
    mean,
    inverse_std,
    last_time,
    np.asarray(target.mean() if regression else 0.0, np.float32),
    np.asarray(target.std() if regression else 1.0, np.float32),
  )
