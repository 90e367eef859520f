"""Generated data sets for which the use of each modality is known."""

from collections.abc import Callable, Mapping
import os
import pathlib

import numpy as np
from sklearn import datasets

# Training and test examples of a generated data set.
_SIZES = {"train": 400, "test": 1000}
_WIDTH = 20


def xor(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Draws `y = a xor b`, with a weak third modality and one of noise.

  The modalities a and b tell nothing alone and everything together.
  """
  number = sum(_SIZES.values())
  a, b = rng.integers(0, 2, (2, number))
  y = a ^ b
  # The third one has the right label in 60 % of the examples.
  weak = np.where(rng.random(number) < 0.6, y, 1 - y)
  bits = {"a": a, "b": b, "weak": weak}
  views = {
    name: (2 * bit - 1)[:, None] + rng.normal(size=(number, 8))
    for name, bit in bits.items()
  }
  return {**views, "noise": rng.normal(size=(number, 8))}, y


def noisy_views(
  rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Draws six views of ten classes, with strong noise on every feature."""
  number = sum(_SIZES.values())
  y = rng.integers(0, 10, number)
  views = {}
  for name in "abcdef":
    centres = rng.normal(size=(10, _WIDTH))
    views[name] = centres[y] + 3.0 * rng.normal(size=(number, _WIDTH))
  return views, y


def copies(
  rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Draws digits whose pixels are there three times, and their profiles."""
  views, y = _digits(rng)
  copied = {f"pixels{i}": views["pixels"] for i in (1, 2, 3)}
  return {**copied, "profiles": views["profiles"]}, y


def exchanged(
  rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Draws digits of which 30 % have the pixels of another example."""
  views, y = _digits(rng)
  rows = np.flatnonzero(rng.random(len(y)) < 0.3)
  views["pixels"][rows] = views["pixels"][np.roll(rows, 1)]
  return views, y


def _digits(rng):
  digits = datasets.load_digits()
  rows = rng.permutation(len(digits.target))[: sum(_SIZES.values())]
  images = digits.images[rows]
  views = {
    "pixels": images.reshape(len(rows), -1).copy(),
    "fourier": np.abs(np.fft.rfft2(images)).reshape(len(rows), -1),
    "profiles": np.concatenate([images.sum(1), images.sum(2)], axis=1),
  }
  return views, digits.target[rows]


GENERATORS: Mapping[str, Callable] = {
  "xor": xor,
  "noisy_views": noisy_views,
  "copies": copies,
  "exchanged": exchanged,
}


def write(name: str, folder: str | os.PathLike, seed: int) -> None:
  """Draws a data set of `GENERATORS` and writes its splits as npz files."""
  views, y = GENERATORS[name](np.random.default_rng(seed))
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  start = 0
  for split, size in _SIZES.items():
    rows = slice(start, start + size)
    start += size
    arrays = {f"x_{view}": x[rows] for view, x in views.items()}
    np.savez(folder / f"{split}.npz", y=y[rows], **arrays)
