"""The images and sounds that the world asks about, with held-out ones."""

import functools
import pathlib
from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn import model_selection

from btw_jax import errors
from btw_jax.data import npz_file

SIDE = 8
_SPLITS = ("train", "valid", "test")
# Frames and log-mel features of tones, and of spoken digits, of which every
# second frame is kept.
TONES_SHAPE, SPOKEN_SHAPE = (16, 8), (32, 32)
# The standard deviation of the noise on training images, and the largest shift.
_PIXEL_NOISE, _SHIFT = 0.05, 1
_NUM_SPEAKERS, _NUM_TONES = 8, 400
_NEEDED = ("x_image", "x_audio", "length_audio", "y")


class Signals(NamedTuple):
  """The images and sounds of a split.

  Attributes:
    images: `[n, 8, 8]` from 0 to 1.
    digits: `[n]`, the digit in each image.
    audio: `[k, F, Mel]` standardised log-mel frames; None without sounds.
    length: `[k]` valid frames.
    spoken: `[k]`, the digit of each sound.
  """

  images: np.ndarray
  digits: np.ndarray
  audio: np.ndarray | None = None
  length: np.ndarray | None = None
  spoken: np.ndarray | None = None


def load(split: str, audio: str, data_dir: str) -> Signals:
  """Loads the images and sounds of a split; see `world.make`.

  Raises:
    InputError: if a file of spoken digits cannot be read.
  """
  if audio == "spoken":
    return _spoken(split, data_dir)
  images, digits = _images(split)
  if audio == "none":
    return Signals(images, digits)
  return Signals(images, digits, *_tones(split))


def jitter(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Shifts images `[n, 8, 8]` by at most a pixel and adds noise."""
  padded = np.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)))
  down, right = rng.integers(2 * _SHIFT + 1, size=(2, len(images), 1, 1))
  rows = np.arange(SIDE)
  moved = padded[
    np.arange(len(images))[:, None, None],
    down + rows[:, None],
    right + rows,
  ]
  noise = rng.normal(scale=_PIXEL_NOISE, size=moved.shape)
  return np.clip(moved + noise, 0, 1)


@functools.cache
def _images(split):
  """Returns the images of a split and their digits; 60, 20 and 20 %."""
  digits = datasets.load_digits()
  rows, rest = model_selection.train_test_split(
    np.arange(len(digits.target)),
    train_size=0.6,
    stratify=digits.target,
    random_state=0,
  )
  valid, test = model_selection.train_test_split(
    rest, train_size=0.5, stratify=digits.target[rest], random_state=0
  )
  chosen = {"train": rows, "valid": valid, "test": test}[split]
  return digits.images[chosen] / 16, digits.target[chosen]


@functools.cache
def _tones(split):
  """Returns tones, one pattern of pitches for each digit.

  The speakers of a split differ in pitch and loudness from those of others.
  """
  num_frames, num_features = TONES_SHAPE
  patterns = np.random.default_rng(0).normal(size=(10, 12, num_features))
  rng = np.random.default_rng([1, _SPLITS.index(split)])
  tilts = rng.normal(scale=0.15, size=(_NUM_SPEAKERS, num_features))
  gains = rng.uniform(0.8, 1.25, _NUM_SPEAKERS)
  digits = np.repeat(np.arange(10), _NUM_TONES)
  speakers = rng.integers(_NUM_SPEAKERS, size=len(digits))
  starts = rng.integers(num_frames - 12 + 1, size=len(digits))
  audio = rng.normal(scale=0.25, size=(len(digits), num_frames, num_features))
  for start in range(num_frames - 12 + 1):
    at = starts == start
    audio[at, start : start + 12] += patterns[digits[at]]
  audio = audio * gains[speakers, None, None] + tilts[speakers, None]
  return (
    audio.astype(np.float32), np.full(len(digits), num_frames), digits,
  )  # fmt: skip


@functools.cache
def _spoken(split, data_dir):
  """Reads a split of the spoken digits, standardised as the training split."""
  data = _read(pathlib.Path(data_dir) / f"{split}.npz")
  train = _read(pathlib.Path(data_dir) / "train.npz")
  frames = train["x_audio"].astype(np.float32)
  mask = np.arange(frames.shape[1]) < train["length_audio"][:, None]
  mean, std = frames[mask].mean(axis=0), frames[mask].std(axis=0)
  audio = ((data["x_audio"].astype(np.float32) - mean) / std)[:, ::2]
  images = data["x_image"].astype(np.float64).reshape(-1, SIDE, SIDE)
  digits = data["y"].astype(int)
  length = -(-data["length_audio"].astype(int) // 2)
  return Signals(images / 16, digits, audio, length, digits)


def _read(path):
  """Returns the arrays of a file of spoken digits."""
  remedy = "set --data_dir to the folder of the spoken digits"
  arrays = npz_file.load(path, remedy, lambda name: name in _NEEDED)
  missing = [name for name in _NEEDED if name not in arrays]
  if missing:
    raise errors.InputError(
      f"{path}: has no array {missing[0]!r}: set --data_dir to the folder of"
      " the spoken digits."
    )
  steps, features = SPOKEN_SHAPE
  if arrays["x_audio"].shape[1:] != (2 * steps, features):
    raise errors.InputError(
      f"{path}: 'x_audio' has shape {arrays['x_audio'].shape}: give"
      f" [N, {2 * steps}, {features}] log-mel frames."
    )
  number, pixels = len(arrays["x_audio"]), SIDE * SIDE
  for name, shape in (
    ("x_image", (number, pixels)),
    ("length_audio", (number,)),
    ("y", (number,)),
  ):
    if arrays[name].shape != shape:
      raise errors.InputError(
        f"{path}: {name!r} has shape {arrays[name].shape}: give {shape}."
      )
  digits = set(arrays["y"].tolist())
  if digits != set(range(10)):
    raise errors.InputError(
      f"{path}: 'y' holds {sorted(digits)}: give each digit from 0 to 9."
    )
  return arrays
