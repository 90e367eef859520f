"""The batches of a split that stays on disk."""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
from typing import ClassVar

import numpy as np

from btw_jax import types
from btw_jax.data import batching
from btw_jax.data import buffers
from btw_jax.data import plans
from btw_jax.data import scaling
from btw_jax.data import streaming

# One slot with one example: the first of the split.
_FIRST_EXAMPLE = np.zeros((1, 1), int)


@dataclasses.dataclass(frozen=True)
class DiskBatches:
  """A split on disk that is read in scaled batches.

  Attributes:
    examples: the split.
    scaler: fitted on the training split.
    buckets: the padded shapes of its batches.
    on_disk: True, unlike for a `types.Batch`.
  """

  examples: streaming.Streamed
  scaler: scaling.Scaler
  buckets: plans.Buckets
  on_disk: ClassVar[bool] = True

  def __str__(self) -> str:
    """Returns the number of examples and the shapes of batches, for the log."""
    shapes = "; ".join(
      ", ".join(f"{m} {steps}" for m, steps in shape.items())
      for shape in self.buckets.num_steps
    )
    return (
      f"{len(self.examples)} examples stay on disk; shapes of batches:"
      f" {len(self.buckets.num_steps)}{', steps ' * bool(shapes)}{shapes}"
    )

  @functools.cached_property
  def _buffers(self) -> buffers.Buffers:
    return buffers.Buffers()

  @functools.cached_property
  def present(self) -> np.ndarray:
    """`[N, M]` bool: the modalities that each example has."""
    return np.stack(list(self.examples.present.values()), axis=1)

  @functools.cached_property
  def target(self) -> np.ndarray:
    """The `[N]` or `[N, C]` targets, standardised for a regression."""
    return batching.scale_target(self.examples.target, self.scaler)

  @functools.cached_property
  def bucket(self) -> np.ndarray:
    """The `[N]` bucket of each example."""
    return self.buckets.assign(self.examples.length, len(self.examples))

  @property
  def groups(self) -> tuple[tuple[int, ...], ...]:
    """The positions of sequence modalities, grouped by shape."""
    return batching.groups_of(self.examples)

  def first(self) -> types.Batch:
    """Reads the first example, padded to the largest shape."""
    return self.batch(
      plans.PlannedBatch(
        len(self.buckets.num_steps) - 1, _FIRST_EXAMPLE, _FIRST_EXAMPLE
      )
    )

  def batch(self, planned: plans.PlannedBatch) -> types.Batch:
    """Reads a planned batch into NumPy arrays; padding has no modality."""
    rows = planned.rows.reshape(-1)
    examples = self.examples.read(
      np.maximum(rows, 0), self.buckets.num_steps[planned.bucket]
    )
    batch = batching.stack(
      examples, self.scaler, self.groups, self._buffers.empty
    )
    # Padding was read as example 0.
    is_example = (rows != plans.PADDING)[:, None]
    return batch._replace(present=batch.present & is_example)

  def batches(
    self, plan: Sequence[plans.PlannedBatch], *, start: int = 0
  ) -> Iterator[tuple[plans.PlannedBatch, types.Batch]]:
    """Yields each planned batch with its arrays, read ahead on threads."""
    stream = streaming.Stream(self.batch, plan, start=start)
    yield from zip(plan[start:], stream, strict=True)


def open_batches(
  examples: streaming.Streamed, scaler: scaling.Scaler, num_buckets: int
) -> DiskBatches:
  """Makes at most `num_buckets` buckets for a split on disk."""
  names = examples.modalities
  groups = batching.groups_of(examples)
  shapes = zip(names, examples.num_steps, examples.widths, strict=True)
  buckets = plans.make_buckets(
    examples.length,
    {name: (steps, width) for name, steps, width in shapes if steps},
    [[names[m] for m in group] for group in groups],
    num_buckets,
  )
  return DiskBatches(examples, scaler, buckets)


def num_steps(disk_batches: DiskBatches, bucket: int) -> tuple[int, ...]:
  """Returns the number of steps T of each group of modalities in a bucket."""
  shape = disk_batches.buckets.num_steps[bucket]
  names = disk_batches.examples.modalities
  return tuple(shape[names[group[0]]] for group in disk_batches.groups)
