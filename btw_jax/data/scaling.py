"""The standardisation of features and targets, fitted on the training split."""

from typing import NamedTuple

import numpy as np

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import moments
from btw_jax.data import texts


class Scaler(NamedTuple):
  """The means and scales that standardise features, times and targets.

  They are float64, because float32 cannot hold the mean of a clock in seconds.

  Attributes:
    mean: `[M, D]` training means, zero-padded.
    inverse_std: `[M, D]` 1 / standard deviation; 0 for a constant or padded
      feature, which becomes 0.
    last_time: `[M]` latest time of a step in training, at least 1.
    target_mean: scalar, 0 unless the task is regression.
    target_std: scalar, 1 unless the task is regression.
  """

  mean: np.ndarray
  inverse_std: np.ndarray
  last_time: np.ndarray
  target_mean: np.ndarray
  target_std: np.ndarray


def fit(dataset: dataset_lib.Dataset) -> Scaler:
  """Computes means and standard deviations of the `train` split alone.

  Those of tokens are of all tokens that there are.
  """
  train = dataset.splits["train"]
  shape = (len(train.widths), max(train.widths))
  modality_moments = [moments.Moments(width) for width in train.widths]
  last_time = np.ones(shape[0], np.float32)
  for examples in train.chunks():
    for m, modality in enumerate(examples.modalities):
      modality_moments[m].add(*moments.valid_rows(examples, modality))
      steps = examples.steps.get(modality)
      if steps is not None and steps.times is not None:
        valid = steps.inside(steps.times.shape[1])
        valid &= examples.present[modality][:, None]
        last_time[m] = np.max(steps.times, initial=last_time[m], where=valid)
  mean, inverse_std = np.zeros(shape), np.zeros(shape)
  for m, width in enumerate(train.widths):
    mean[m, :width] = modality_moments[m].mean
    inverse_std[m, :width] = modality_moments[m].inverse_std
  for modality, vocab_size in train.vocab_sizes.items():
    m = dataset.modalities.index(modality)
    mean[m, 0], std = texts.centre(vocab_size)
    inverse_std[m, 0] = 1 / std
  target = train.target.astype(np.float64)
  regression = dataset.task == "regression"
  return Scaler(
    mean,
    inverse_std,
    last_time,
    np.asarray(target.mean() if regression else 0.0),
    np.asarray(target.std() if regression else 1.0),
  )
