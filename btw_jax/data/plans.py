"""Which examples a batch has, and in what shape, before anything is read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Buckets(NamedTuple):
  """Shapes that batches come in.

  Attributes:
    num_steps: of each bucket, modality -> steps; the last holds any example.
  """

  num_steps: tuple[Mapping[str, int], ...]

  def assign(self, length: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """The first bucket that each example fits in.

    Args:
      length: modality -> `[N]` steps.
      count: N.

    Returns:
      `[N]` positions of buckets.
    """
    found = np.zeros(count, int)
    for bucket in self.num_steps[:-1]:
      fits = np.ones(count, bool)
      for modality, steps in bucket.items():
        fits &= length[modality] <= steps
      # Each holds all that the one before it does.
      found += ~fits
    return found


def make_buckets(
  length: Mapping[str, np.ndarray],
  sizes: Mapping[str, tuple[int, int]],
  groups: Sequence[Sequence[str]],
  count: int,
) -> Buckets:
  """Buckets that hold about equally many examples each.

  Args:
    length: modality -> `[N]` steps of each example.
    sizes: modality -> most steps of any example, and features of a step; only
      of those that come in steps.
    groups: modalities that must have as many steps as each other.
    count: of buckets, at most.

  Returns:
    The buckets; a single one where nothing comes in steps.
  """
  whole = {m: steps for m, (steps, _) in sizes.items()}
  if not sizes or count == 1:
    return Buckets((whole,))
  size = sum(length[m] * width for m, (_, width) in sizes.items())
  order = np.argsort(size, kind="stable")
  found, so_far = [], dict.fromkeys(sizes, 1)
  for members in np.array_split(order, count)[:-1]:
    if not len(members):
      continue
    for m in sizes:
      so_far[m] = max(so_far[m], int(length[m][members].max()))
    for names in groups:
      longest = max(so_far[m] for m in names)
      so_far |= dict.fromkeys(names, longest)
    if dict(so_far) not in (*found, whole):
      found.append(dict(so_far))
  return Buckets((*found, whole))


class Rows(NamedTuple):
  """One batch to come.

  Attributes:
    bucket: its position among the buckets.
    rows: `[B]` numbers of its examples.
    count: of the first so many; the rest fill it up and do not count.
  """

  bucket: int
  rows: np.ndarray
  count: int


def shuffled(
  order: np.ndarray, bucket: np.ndarray, batch_size: int
) -> list[Rows]:
  """The batches of an epoch, each of examples of one bucket.

  What is left over in the buckets makes up batches of the largest shape needed;
  a remainder smaller than a batch is left out.

  Args:
    order: `[N]` a permutation of the examples.
    bucket: `[N]` bucket of each example.
    batch_size: B.

  Returns:
    Batches, those whose last example comes first in `order` before others: with
    one bucket, `order` cut into batches.
  """
  place = np.empty(len(order), int)
  place[order] = np.arange(len(order))
  full, rest = [], []
  for k in np.unique(bucket):
    mine = order[bucket[order] == k]
    end = len(mine) // batch_size * batch_size
    full += [Rows(int(k), rows, batch_size)
             for rows in mine[:end].reshape(-1, batch_size)]  # fmt: skip
    rest.append(mine[end:])
  rest = np.concatenate(rest)
  rest = rest[np.argsort(place[rest])]
  end = len(rest) // batch_size * batch_size
  full += [
    Rows(int(bucket[rows].max()), rows, batch_size)
    for rows in rest[:end].reshape(-1, batch_size)
  ]
  return sorted(full, key=lambda batch: place[batch.rows].max())


def in_order(bucket: np.ndarray, batch_size: int) -> list[Rows]:
  """All examples once, bucket by bucket, in batches of one size.

  Args:
    bucket: `[N]` bucket of each example.
    batch_size: B.

  Returns:
    Batches; the last of a bucket repeats its last example to be full.
  """
  found = []
  for k in np.unique(bucket):
    mine = np.flatnonzero(bucket == k)
    for start in range(0, len(mine), batch_size):
      rows = mine[start : start + batch_size]
      fill = np.full(batch_size - len(rows), rows[-1])
      found.append(Rows(int(k), np.concatenate([rows, fill]), len(rows)))
  return found


def share(plan: Sequence[Rows], index: int, count: int) -> list[Rows]:
  """What one of several processes reads of every batch.

  Args:
    plan: batches of all.
    index: of the process.
    count: of processes; divides the size of a batch.

  Returns:
    As many batches, each the part of that process.

  Raises:
    ValueError: if a batch cannot be divided.
  """
  found = []
  for batch in plan:
    if len(batch.rows) % count:
      raise ValueError(
        f"a batch of {len(batch.rows)} cannot be divided among {count}: give a"
        " multiple."
      )
    size = len(batch.rows) // count
    rows = batch.rows[index * size : (index + 1) * size]
    counted = min(max(batch.count - index * size, 0), size)
    found.append(Rows(batch.bucket, rows, counted))
  return found
