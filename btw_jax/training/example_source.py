"""A split that is sharded over devices, held in memory or read from disk.

Both kinds yield their examples in batches whose arrays have a leading axis of
devices, so that everything that follows is written once.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Protocol

import jax
import numpy as np

from btw_jax import types
from btw_jax.data import batch_source
from btw_jax.data import plans
from btw_jax.parallel import hosts
from btw_jax.parallel import placement

# Examples that are predicted in one batch from disk.
_PREDICT_BATCH_SIZE = 256


class ExampleSource(Protocol):
  """The examples of a split, as training and prediction take them.

  Attributes:
    layout: which example is in which slot, hence on which device.
    shapes: of each shape that batches come in, the number of steps of every
      group of sequences; None where the network's own sizes hold.
    axes: the axes of seeds of a batch's split, as `jax.vmap` takes them.
  """

  layout: plans.SlotLayout
  shapes: Sequence[tuple[int, ...] | None]
  axes: types.Split

  def batches(self) -> Iterator[tuple[int, types.Split]]:
    """Yields all examples once, without targets: shape's position, split."""

  def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Joins results of all batches to `[local devices, ..., n, K]`."""


@dataclasses.dataclass(frozen=True)
class InMemoryExamples:
  """A split on the devices, which is one batch.

  Attributes:
    split: arrays `[D, ...]`: each device has the examples of its slots side by
      side, n of them; padding has no modality.
    layout: which example is in which slot.
  """

  split: types.Split
  layout: plans.SlotLayout

  @property
  def shapes(self) -> Sequence[None]:
    """The one shape, that of the network."""
    return (None,)

  @property
  def axes(self) -> types.Split:
    """The axes of seeds: the seeds may share a batch, never the outputs."""
    return split_axes(self.split, sharded=True)

  def batches(self) -> Iterator[tuple[int, types.Split]]:
    """Yields the full split, without targets."""
    batch = self.split.batch._replace(target=None)
    yield 0, self.split._replace(batch=batch)

  def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the only part."""
    (part,) = parts
    return part


class OnDiskExamples:
  """A split on disk, of which every process reads the examples of its slots.

  Attributes:
    layout: which example is in which slot.
    disk_batches: reads the batches.
    slots: the slots of this process.
    metadata: presence, targets and unimodal outputs, on the devices.
  """

  # All seeds share the batches; the unimodal outputs are each seed's own.
  axes = types.Split(None, 0)

  def __init__(self, split: types.Split, num_slots: int):
    """Lays out a split whose `batch` is a `batch_source.DiskBatches`."""
    self.disk_batches = split.batch
    self.layout = plans.by_bucket(self.disk_batches.bucket, num_slots)
    self.slots = placement.process_slots(num_slots)
    self._slots_per_device = len(self.slots) // jax.local_device_count()
    metadata = types.Batch(
      None, self.disk_batches.present, self.disk_batches.target
    )
    self.metadata = placement.place(split._replace(batch=metadata), self.layout)
    self._local_unimodal = None

  @property
  def shapes(self) -> Sequence[tuple[int, ...]]:
    """The number of steps of every group of sequences, by bucket."""
    return tuple(
      batch_source.num_steps(self.disk_batches, bucket)
      for bucket in range(len(self.disk_batches.buckets.num_steps))
    )

  def template(self) -> types.Split:
    """Returns one example with the presence of all, to start runs from."""
    batch = jax.tree.map(
      lambda x: np.repeat(x[None], jax.local_device_count(), axis=0),
      self.disk_batches.first(),
    )
    batch = hosts.shard(batch._replace(present=None))
    present = self.metadata.batch.present
    return types.Split(batch._replace(present=present), None)

  def plan_all(self) -> list[plans.PlannedBatch]:
    """Plans batches that hold every example once."""
    return plans.full_pass(
      self.layout,
      self.slots,
      self.disk_batches.bucket,
      _PREDICT_BATCH_SIZE,
      largest_bucket,
    )

  def read(
    self, plan: Sequence[plans.PlannedBatch], start: int = 0
  ) -> Iterator[tuple[plans.PlannedBatch, types.Batch, np.ndarray]]:
    """Reads planned batches, from position `start` on.

    Yields each entry of the plan, its batch `[local devices, B, ...]` and the
    rows `[local devices, B]` of its examples among those of their device.
    """
    starts = np.arange(self._slots_per_device)[:, None] * self.layout.length
    for planned, batch in self.disk_batches.batches(plan, start=start):
      places = placement.by_device(planned.places)
      rows = (starts + places).reshape(len(places), -1)
      yield planned, placement.by_device(batch), rows

  def batches(self) -> Iterator[tuple[int, types.Split]]:
    """Yields all examples once, without targets, small buckets first."""
    unimodal = None
    if self.metadata.unimodal is not None:
      unimodal = hosts.local_shards(self.metadata.unimodal)
    for planned, batch, rows in self.read(self.plan_all()):
      outputs = None
      if unimodal is not None:
        outputs = np.stack(
          [x[:, :, r] for x, r in zip(unimodal, rows, strict=True)]
        )
      yield planned.bucket, types.Split(batch._replace(target=None), outputs)

  def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Joins results of the batches of `plan_all`, slot by slot."""

    def by_slot(x):
      return x.reshape(*x.shape[:-2], self._slots_per_device, -1, x.shape[-1])

    joined = np.concatenate([by_slot(x) for x in parts], axis=-2)
    joined = joined[..., : self.layout.length, :]
    return joined.reshape(*joined.shape[:-3], -1, joined.shape[-1])


def in_memory(split: types.Split, num_slots: int) -> InMemoryExamples:
  """Shards a split that every process holds in full."""
  num_examples = split.batch.present.shape[-2]
  layout = plans.SlotLayout(num_examples, num_slots)
  return InMemoryExamples(placement.place(split, layout), layout)


def make(split: types.Split, num_slots: int) -> ExampleSource:
  """Returns the source of a split, in memory or on disk as its batch is."""
  kind = OnDiskExamples if split.batch.on_disk else in_memory
  return kind(split, num_slots)


def split_axes(split: types.Split, *, sharded: bool = False) -> types.Split:
  """Returns the axes of seeds of a split, for `jax.vmap`.

  Seeds share the examples, `[N, ...]`, or have their own, `[S, N, ...]`; the
  unimodal outputs always are each seed's own. `sharded` tells whether there is
  an axis of devices before those.
  """
  batch = 0 if split.batch.present.ndim == 3 + sharded else None
  unimodal = None if split.unimodal is None else 0
  return types.Split(batch, unimodal)


def largest_bucket(bucket: np.ndarray) -> np.ndarray:
  """Returns the largest bucket of each batch over all processes."""
  return hosts.gather(bucket[None]).max(axis=0)
