"""The plan of batches: their examples and shapes, before anything is read."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

# Stands for the number of an example in a slot that has none.
PADDING = -1


class Buckets(NamedTuple):
  """The padded shapes of batches, from small to large.

  Attributes:
    num_steps: per bucket, modality -> steps; the last bucket fits any example.
  """

  num_steps: tuple[Mapping[str, int], ...]

  def assign(self, length: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Returns the `[N]` smallest bucket that each of N = `count` examples fits.

    `length` maps a modality to the `[N]` number of steps.
    """
    bucket = np.zeros(count, int)
    for steps_by_modality in self.num_steps[:-1]:
      fits = np.ones(count, bool)
      for modality, steps in steps_by_modality.items():
        fits &= length[modality] <= steps
      # Each bucket is at least as large as the one before it, so the number of
      # buckets that are too small is the position of the first that fits.
      bucket += ~fits
    return bucket


def make_buckets(
  length: Mapping[str, np.ndarray],
  sizes: Mapping[str, tuple[int, int]],
  groups: Sequence[Sequence[str]],
  count: int,
) -> Buckets:
  """Makes buckets that hold about equally many examples each.

  Args:
    length: modality -> `[N]` steps of each example.
    sizes: sequence modality -> most steps of any example, features of a step.
    groups: modalities that must have the same number of steps.
    count: the maximum number of buckets.

  Returns:
    The buckets; a single one if there are no sequences.
  """
  largest = {m: steps for m, (steps, _) in sizes.items()}
  if not sizes or count == 1:
    return Buckets((largest,))
  size = sum(length[m] * width for m, (_, width) in sizes.items())
  order = np.argsort(size, kind="stable")
  # The running maximum makes every bucket at least as large as the one before.
  smaller, steps = [], dict.fromkeys(sizes, 1)
  for members in np.array_split(order, count)[:-1]:
    if not len(members):
      continue
    for m in sizes:
      steps[m] = max(steps[m], int(length[m][members].max()))
    for names in groups:
      longest = max(steps[m] for m in names)
      steps |= dict.fromkeys(names, longest)
    if dict(steps) not in (*smaller, largest):
      smaller.append(dict(steps))
  return Buckets((*smaller, largest))


@dataclasses.dataclass(frozen=True)
class SlotLayout:
  """The slot of a batch, hence the device, that each example belongs to.

  Slot j of every batch takes its examples from a fixed set. So the batches of
  an epoch are the same on any number of devices, and a device needs only the
  examples and the weights of its slots. The examples form a table `[B, L]` with
  one row per slot: example `t * B + j` of `order` is the t-th of slot j.

  Attributes:
    num_examples: N.
    num_slots: B.
    order: `[N]` examples sorted by bucket; None for the order of the data.
  """

  num_examples: int
  num_slots: int
  order: np.ndarray | None = None

  @property
  def length(self) -> int:
    """The largest number of examples of a slot, L; some slots have L - 1."""
    return -(-self.num_examples // self.num_slots)

  @property
  def num_batches(self) -> int:
    """The number of full batches in an epoch."""
    return self.num_examples // self.num_slots

  def rows(self, slots: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns the `[n, L]` examples of n slots, with `PADDING` at the end."""
    position = np.arange(self.length) * self.num_slots
    position = position + np.asarray(slots)[:, None]
    inside = position < self.num_examples
    if self.order is not None:
      position = self.order[np.minimum(position, self.num_examples - 1)]
    return np.where(inside, position, PADDING)


def by_bucket(bucket: np.ndarray, num_slots: int) -> SlotLayout:
  """Returns a layout that deals the examples of each bucket evenly to slots.

  `bucket` is the `[N]` bucket of each example.
  """
  order = None
  if len(bucket) and bucket.min() != bucket.max():
    order = np.argsort(bucket, kind="stable")
  return SlotLayout(len(bucket), num_slots, order)


class PlannedBatch(NamedTuple):
  """The examples that n slots contribute to one batch.

  Attributes:
    bucket: the bucket of the batch.
    rows: `[n, C]` numbers of the examples, C per slot, or `PADDING`.
    places: `[n, C]` positions of the examples within their slot.
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
  max_over_processes: Callable[[np.ndarray], np.ndarray] = lambda x: x,
) -> list[PlannedBatch]:
  """Plans the batches of an epoch; few of them mix buckets.

  Args:
    layout: of the training set.
    slots: `[n]` slots to plan for.
    places: `[batches, n]` positions within the slots, in the epoch's order.
    bucket: `[N]` bucket of each example.
    seed: draws the order of the batches, if there are several buckets.
    max_over_processes: maps `[batches]` buckets to their maximum over the
      processes that plan for the other slots.

  Returns:
    The batches, each with one example per slot.
  """
  places = places.T
  rows = np.take_along_axis(layout.rows(slots), places, axis=1)
  # Every slot has about as many examples of a bucket, so if each slot goes
  # through its buckets in ascending order, the slots of a batch mostly agree.
  by_size = np.argsort(bucket[rows], axis=1, kind="stable")
  rows = np.take_along_axis(rows, by_size, axis=1)
  places = np.take_along_axis(places, by_size, axis=1)
  batch_bucket = max_over_processes(bucket[rows].max(axis=0))
  # Training must not see all small examples first.
  order = np.arange(len(batch_bucket))
  if layout.order is not None:
    order = np.random.default_rng(seed).permutation(len(batch_bucket))
  return [
    PlannedBatch(int(batch_bucket[t]), rows[:, t : t + 1], places[:, t : t + 1])
    for t in order
  ]


def full_pass(
  layout: SlotLayout,
  slots: np.ndarray,
  bucket: np.ndarray,
  batch_size: int,
  max_over_processes: Callable[[np.ndarray], np.ndarray] = lambda x: x,
) -> list[PlannedBatch]:
  """Plans a pass over all examples, small buckets first.

  The arguments are as for `epoch`, with about `batch_size` examples of a batch
  over all slots. Returns batches of one size; the last one is filled up with
  `PADDING`.
  """
  rows = layout.rows(slots)
  per_slot = min(max(1, batch_size // layout.num_slots), layout.length)
  num_batches = -(-layout.length // per_slot)
  fill = num_batches * per_slot - layout.length
  rows = np.pad(rows, ((0, 0), (0, fill)), constant_values=PADDING)
  # Padding gets the last position, so that it is a valid index too.
  places = np.broadcast_to(
    np.minimum(np.arange(rows.shape[1]), layout.length - 1), rows.shape
  )
  row_bucket = np.where(rows == PADDING, 0, bucket[np.maximum(rows, 0)])
  batch_bucket = max_over_processes(
    row_bucket.reshape(len(rows), num_batches, per_slot).max((0, 2))
  )
  return [
    PlannedBatch(
      int(batch_bucket[b]),
      rows[:, b * per_slot : (b + 1) * per_slot],
      places[:, b * per_slot : (b + 1) * per_slot],
    )
    for b in range(num_batches)
  ]
