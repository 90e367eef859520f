"""Sequences of many lengths in one array, and what such arrays hide."""

from collections.abc import Sequence

import numpy as np

# Examples that are looked at together: bounds the memory of a mask.
_AT_ONCE = 1024


def pad(arrays: Sequence[np.ndarray], width: int) -> tuple[np.ndarray, ...]:
  """Puts sequences of several lengths into one array.

  Args:
    arrays: N of `[t, D]`, t of any size, 0 included.
    width: D.

  Returns:
    `[N, T, D]` float32 with zeros past the end, T the longest and at least 1;
    and `[N]` int, the lengths.
  """
  length = np.array([len(x) for x in arrays], int)
  values = np.zeros(
    (len(arrays), max(1, length.max(initial=0)), width), np.float32
  )
  for row, x in enumerate(arrays):
    values[row, : len(x)] = x
  return values, length


def move_to_front(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Undoes padding by zeros before or after a sequence.

  Args:
    x: `[N, T, D]`, whose steps of nothing but zeros are padding at either end.

  Returns:
    `[N, T, D]` where every sequence starts at step 0, and `[N]` int, from the
    first step that is not zero to the last; 0 for a row of zeros.
  """
  num_examples, num_steps, _ = x.shape
  there = np.zeros((num_examples, num_steps), bool)
  for start in range(0, num_examples, _AT_ONCE):
    part = slice(start, start + _AT_ONCE)
    there[part] = np.any(x[part] != 0, axis=2)
  first = there.argmax(axis=1)
  length = np.where(
    there.any(axis=1), num_steps - there[:, ::-1].argmax(axis=1) - first, 0
  )
  late = np.flatnonzero(first)
  if len(late):
    x = np.array(x)
    steps = (np.arange(num_steps) + first[late, None]) % num_steps
    x[late] = np.take_along_axis(x[late], steps[..., None], axis=1)
  return x, length


def finite(x: np.ndarray) -> tuple[np.ndarray, int]:
  """Zeros for what is not finite: some extractors write log(0) = −inf.

  Args:
    x: of any shape.

  Returns:
    float32 of that shape, and how many values were replaced.
  """
  x = np.asarray(x, np.float32)
  replaced = 0
  for start in range(0, len(x), _AT_ONCE):
    part = x[start : start + _AT_ONCE]
    bad = ~np.isfinite(part)
    count = int(np.count_nonzero(bad))
    if count and not replaced:
      x = np.array(x)
    replaced += count
    if count:
      x[start : start + _AT_ONCE][bad] = 0
  return x, replaced
