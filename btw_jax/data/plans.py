"""Which examples a batch has, and in what shape, before anything is read."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

# In place of the number of an example.
PADDING = -1


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


@dataclasses.dataclass(frozen=True)
class SlotLayout:
  """Which slot of a batch, hence which device, each example belongs to.

  Slot j of every batch is filled from examples of its own, so the batches of an
  epoch are the same on any number of devices, and yet a device needs only the
  examples and the weights of its slots. With examples `[B, L]`, a row for every
  slot: example `t * B + j` of `order` is the t-th of slot j.

  Attributes:
    num_examples: N.
    num_slots: B.
    order: `[N]` examples, those of a bucket side by side; by number if None.
  """

  num_examples: int
  num_slots: int
  order: np.ndarray | None = None

  @property
  def length(self) -> int:
    """L, the most examples of a slot; others have one less."""
    return -(-self.num_examples // self.num_slots)

  @property
  def num_batches(self) -> int:
    """Full batches of an epoch."""
    return self.num_examples // self.num_slots

  def rows(self, slots: Sequence[int] | np.ndarray) -> np.ndarray:
    """Numbers of the examples of some slots.

    Args:
      slots: n of them.

    Returns:
      `[n, L]` int; `PADDING` where a slot has one less.
    """
    place = np.arange(self.length) * self.num_slots
    place = place + np.asarray(slots)[:, None]
    inside = place < self.num_examples
    if self.order is not None:
      place = self.order[np.minimum(place, self.num_examples - 1)]
    return np.where(inside, place, PADDING)


def by_bucket(bucket: np.ndarray, num_slots: int) -> SlotLayout:
  """A layout whose slots have as many examples of every bucket.

  Args:
    bucket: `[N]` bucket of each example.
    num_slots: B.

  Returns:
    The layout.
  """
  order = None
  if len(bucket) and bucket.min() != bucket.max():
    order = np.argsort(bucket, kind="stable")
  return SlotLayout(len(bucket), num_slots, order)


class PlannedBatch(NamedTuple):
  """What some slots contribute to one batch to come.

  Attributes:
    bucket: the batch's position among the buckets.
    rows: `[n, C]` numbers of its examples, C of each slot; or `PADDING`.
    places: `[n, C]` where these are among those of their slot.
  """

  bucket: int
  rows: np.ndarray
  places: np.ndarray


def epoch(
  layout: SlotLayout,
  slots: np.ndarray,
  places: np.ndarray,
  bucket: np.ndarray,
  seed: Sequence[int],
  largest: Callable[[np.ndarray], np.ndarray] = lambda x: x,
) -> list[PlannedBatch]:
  """The batches of an epoch, few of them of examples of several buckets.

  Args:
    layout: of the training set.
    slots: `[n]` those to plan for.
    places: `[batches, n]` the examples of each slot, by place, in the order of
      the epoch.
    bucket: `[N]` bucket of each example.
    seed: of the order of batches, if there are several buckets.
    largest: of `[batches]` the largest among all slots, where others plan for
      the rest of them.

  Returns:
    As many batches, an example of every slot in each.
  """
  places = places.T
  rows = np.take_along_axis(layout.rows(slots), places, axis=1)
  by_size = np.argsort(bucket[rows], axis=1, kind="stable")
  rows = np.take_along_axis(rows, by_size, axis=1)
  places = np.take_along_axis(places, by_size, axis=1)
  of_batch = largest(bucket[rows].max(axis=0))
  order = np.arange(len(of_batch))
  if layout.order is not None:
    order = np.random.default_rng(seed).permutation(len(of_batch))
  return [
    PlannedBatch(int(of_batch[t]), rows[:, t : t + 1], places[:, t : t + 1])
    for t in order
  ]


def in_order(
  layout: SlotLayout,
  slots: np.ndarray,
  bucket: np.ndarray,
  at_once: int,
  largest: Callable[[np.ndarray], np.ndarray] = lambda x: x,
) -> list[PlannedBatch]:
  """All examples once, those of small buckets first, in batches of one size.

  Args:
    layout: of the examples.
    slots: `[n]` those to plan for.
    bucket: `[N]` bucket of each example.
    at_once: examples of a batch over all slots, about.
    largest: as of `epoch`.

  Returns:
    Batches; the last one is filled up with `PADDING`.
  """
  rows = layout.rows(slots)
  each = min(max(1, at_once // layout.num_slots), layout.length)
  num_batches = -(-layout.length // each)
  fill = num_batches * each - layout.length
  rows = np.pad(rows, ((0, 0), (0, fill)), constant_values=PADDING)
  places = np.broadcast_to(
    np.minimum(np.arange(rows.shape[1]), layout.length - 1), rows.shape
  )
  of_row = np.where(rows == PADDING, 0, bucket[np.maximum(rows, 0)])
  of_batch = largest(of_row.reshape(len(rows), num_batches, each).max((0, 2)))
  return [
    PlannedBatch(
      int(of_batch[b]),
      rows[:, b * each : (b + 1) * each],
      places[:, b * each : (b + 1) * each],
    )
    for b in range(num_batches)
  ]
