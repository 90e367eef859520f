"""Real 8x8 images of ten digits, seen as four modalities and as noise.

scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits" test
set: 1,797 images (Alpaydin & Kaynak, 1998). Nothing is downloaded.
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
  """Pixels, Fourier magnitudes, profiles, gradient orientations, and noise.

  Args:
    num_train: labelled examples to train and validate on; the rest test, with
      the classes in equal shares.
    noise_modalities: added modalities of 64 standard normal numbers each, told
      nothing about the digit.
    seed: of the split and the noise.

  Returns:
    The splits, and the task.

  Raises:
    InputError: if `num_train` leaves nothing to test on.
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
  return {
    "pixels": images.reshape(len(images), -1),
    "fourier": np.abs(np.fft.rfft2(images)).reshape(len(images), -1),
    "profiles": np.concatenate([images.sum(1), images.sum(2)], axis=1),
    "gradients": _orientation_histogram(images),
  }


def _orientation_histogram(images):
  """`[N, 12]` gradient magnitude by direction."""
  down, right = np.gradient(images, axis=(1, 2))
  angle = np.arctan2(down, right)
  share = np.floor((angle + np.pi) / (2 * np.pi) * _ANGLES).astype(int)
  share = np.minimum(share, _ANGLES - 1)
  magnitude = np.hypot(down, right)
  return np.stack(
    [np.where(share == a, magnitude, 0).sum((1, 2)) for a in range(_ANGLES)],
    axis=1,
  )


def _noise(rng, num_modalities):
  size = (datasets.load_digits().images.shape[0], _NOISE_WIDTH)
  return {f"noise{i}": rng.normal(size=size) for i in range(num_modalities)}
