"""The images of handwritten digits, as four modalities and optional noise.

The data is scikit-learn's copy of the UCI "Optical Recognition of Handwritten
Digits" test set: 1,797 images of 8x8 pixels (Alpaydin & Kaynak, 1998); nothing
is downloaded.
"""

import numpy as np
from sklearn import datasets
from sklearn import model_selection

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib

_NOISE_WIDTH = 64
_ANGLES = 12


def load(
  *, num_train: int = 400, noise_modalities: int = 0, seed: int = 0
) -> dataset_lib.LoadedSplits:
  """Loads pixels, Fourier magnitudes, profiles, gradient directions and noise.

  Args:
    num_train: the number of examples to train and validate on, stratified by
      class; the others are the test split.
    noise_modalities: the number of added modalities; each has 64 independent
      standard normal features.
    seed: draws the split and the noise.

  Raises:
    InputError: if `num_train` leaves too few examples to test on.
  """
  digits = datasets.load_digits()
  rng = np.random.default_rng(seed)
  views = {**_views(digits.images), **_noise(rng, noise_modalities)}
  most = len(digits.images) - 100
  if not 20 <= num_train <= most:
    raise errors.InputError(
      f"--num_train={num_train}: give 20 to {most} training digits."
    )
  examples = dataset_lib.complete(views, digits.target, name="digits")
  train, test = model_selection.train_test_split(
    np.arange(len(examples)),
    train_size=num_train,
    stratify=digits.target,
    random_state=seed,
  )
  rows = {"train": np.sort(train), "test": np.sort(test)}
  return dataset_lib.LoadedSplits(
    {s: examples.take(r) for s, r in rows.items()}, "multiclass"
  )


def _views(images):
  """Returns modality -> `[N, D]` features of the `[N, 8, 8]` images."""
  return {
    "pixels": images.reshape(len(images), -1),
    "fourier": np.abs(np.fft.rfft2(images)).reshape(len(images), -1),
    "profiles": np.concatenate([images.sum(1), images.sum(2)], axis=1),
    "gradients": _orientation_histogram(images),
  }


def _orientation_histogram(images):
  """Returns `[N, 12]` gradient magnitudes, summed by direction."""
  down, right = np.gradient(images, axis=(1, 2))
  angle = np.arctan2(down, right)
  sector = np.floor((angle + np.pi) / (2 * np.pi) * _ANGLES).astype(int)
  # The angle pi itself would start a sector after the last one.
  sector = np.minimum(sector, _ANGLES - 1)
  magnitude = np.hypot(down, right)
  return np.stack(
    [np.where(sector == a, magnitude, 0).sum((1, 2)) for a in range(_ANGLES)],
    axis=1,
  )


def _noise(rng, num_modalities):
  """Returns modality -> `[N, 64]` standard normal numbers."""
  size = (datasets.load_digits().images.shape[0], _NOISE_WIDTH)
  return {f"noise{i}": rng.normal(size=size) for i in range(num_modalities)}
