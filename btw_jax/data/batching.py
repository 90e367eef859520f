"""From examples on the host to the arrays that a model sees."""

import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import scaling


def stack(
  examples: dataset_lib.Examples, scaler: scaling.Scaler
) -> types.Batch:
  """Scales a split and pads its modalities to one width.

  Args:
    examples: the split.
    scaler: fitted on the training split.

  Returns:
    A `Batch` of NumPy arrays, all N examples.
  """
  num_modalities, width = scaler.mean.shape
  features = np.zeros((len(examples), num_modalities, width), np.float32)
  present = np.stack(list(examples.present.values()), axis=1)
  for m, x in enumerate(examples.features.values()):
    features[:, m, : x.shape[1]] = np.where(present[:, m, None], x, 0)
  features = (features - scaler.mean) * scaler.inverse_std
  features = np.where(present[..., None], features, 0).astype(np.float32)
  target = examples.target
  if np.issubdtype(target.dtype, np.floating):
    target = (target - scaler.target_mean) / scaler.target_std
  return types.Batch(features, present, target)
