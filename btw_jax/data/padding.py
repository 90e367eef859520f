"""The padding of sequences, and the removal of padding and infinite values."""

from collections.abc import Sequence

import numpy as np

# The examples that are processed at a time: bounds the memory of a mask.
_CHUNK = 1024


def pad(arrays: Sequence[np.ndarray], width: int) -> tuple[np.ndarray, ...]:
  """Pads N sequences `[t, D]`, with D = `width`, to one length.

  Returns:
    `[N, T, D]` float32 with zeros past the end, where T is the longest t and at
    least 1; and the `[N]` int lengths, which may be 0.
  """
  length = np.array([len(x) for x in arrays], int)
  values = np.zeros(
    (len(arrays), max(1, length.max(initial=0)), width), np.float32
  )
  for row, x in enumerate(arrays):
    values[row, : len(x)] = x
  return values, length


def move_to_front(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Moves padding of all-zero steps `[N, T, D]` from the front to the end.

  Returns:
    `[N, T, D]` where every sequence starts at step 0; and the `[N]` int
    lengths, from the first to the last non-zero step (0 for a row of zeros).
  """
  nonzero = _nonzero_steps(x)
  first = nonzero.argmax(axis=1)
  last = x.shape[1] - nonzero[:, ::-1].argmax(axis=1)
  length = np.where(nonzero.any(axis=1), last - first, 0)
  return rotate(x, first), length


def rotate(x: np.ndarray, first: np.ndarray) -> np.ndarray:
  """Moves step `first` `[N]` of each sequence of `[N, T, D]` to step 0."""
  late = np.flatnonzero(first)
  # Most data has no padding in front: copy only if a row must be rotated.
  if len(late):
    x = np.array(x)
    steps = (np.arange(x.shape[1]) + first[late, None]) % x.shape[1]
    x[late] = np.take_along_axis(x[late], steps[..., None], axis=1)
  return x


def first_steps(x: np.ndarray, length: np.ndarray) -> np.ndarray:
  """Returns the `[N]` steps at which sequences of known `length` `[N]` start.

  This is step 0, unless the steps after the length are not all zero, and those
  that padding in front would take are: then it is T − length.
  """
  steps, nonzero = np.arange(x.shape[1]), _nonzero_steps(x)
  start = x.shape[1] - length
  after = np.any(nonzero & (steps >= length[:, None]), axis=1)
  before = np.any(nonzero & (steps < start[:, None]), axis=1)
  return np.where(after & ~before, start, 0)


def _nonzero_steps(x):
  """Returns `[N, T]` bool: True for steps that are not all zero."""
  nonzero = np.zeros(x.shape[:2], bool)
  for start in range(0, len(x), _CHUNK):
    chunk = slice(start, start + _CHUNK)
    nonzero[chunk] = np.any(x[chunk] != 0, axis=2)
  return nonzero


def replace_non_finite(x: np.ndarray) -> tuple[np.ndarray, int]:
  """Returns `x` as float32 with 0 for values that are not finite, and a count.

  Some feature extractors write log(0) = −inf.
  """
  x = np.asarray(x, np.float32)
  replaced = 0
  for start in range(0, len(x), _CHUNK):
    chunk = x[start : start + _CHUNK]
    bad = ~np.isfinite(chunk)
    count = int(np.count_nonzero(bad))
    # The caller's array stays as it is: copy it before the first change.
    if count and not replaced:
      x = np.array(x)
    replaced += count
    if count:
      x[start : start + _CHUNK][bad] = 0
  return x, replaced
