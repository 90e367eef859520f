"""A split on disk, as the batches that a model sees."""

from collections.abc import Iterator, Sequence
import dataclasses
import functools

import numpy as np

from btw_jax import types
from btw_jax.data import batching
from btw_jax.data import buffers
from btw_jax.data import plans
from btw_jax.data import scaling
from btw_jax.data import streaming

_ONE = np.zeros((1, 1), int)


@dataclasses.dataclass(frozen=True)
class DiskBatches:
  """A split on disk with what turns its examples into batches.

  Attributes:
    examples: the split.
    scaler: fitted on the training split.
    buckets: shapes that its batches come in.
  """

  examples: streaming.Streamed
  scaler: scaling.Scaler
  buckets: plans.Buckets

  def __str__(self) -> str:
    """How many examples in batches of which shapes."""
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
    """`[N, M]` bool."""
    return np.stack(list(self.examples.present.values()), axis=1)

  @functools.cached_property
  def target(self) -> np.ndarray:
    """`[N]` or `[N, C]`, as a model sees it."""
    return batching.scale_target(self.examples.target, self.scaler)

  @functools.cached_property
  def bucket(self) -> np.ndarray:
    """`[N]` bucket of each example."""
    return self.buckets.assign(self.examples.length, len(self.examples))

  @property
  def groups(self) -> tuple[tuple[int, ...], ...]:
    """Modalities that come in steps, by shape, as a network knows them."""
    return batching.groups(self.examples.num_steps, self.examples.widths)

  def first(self) -> types.Batch:
    """An example, in the largest shape."""
    return self.batch(
      plans.PlannedBatch(len(self.buckets.num_steps) - 1, _ONE, _ONE)
    )

  def batch(self, planned: plans.PlannedBatch) -> types.Batch:
    """Reads a batch.

    Args:
      planned: its bucket and rows.

    Returns:
      A `Batch` of NumPy arrays; in place of no example one without modalities.
    """
    rows = planned.rows.reshape(-1)
    examples = self.examples.read(
      np.maximum(rows, 0), self.buckets.num_steps[planned.bucket]
    )
    batch = batching.stack(
      examples, self.scaler, self.groups, self._buffers.empty
    )
    there = (rows != plans.PADDING)[:, None]
    return batch._replace(present=batch.present & there)

  def batches(
    self, plan: Sequence[plans.PlannedBatch], *, start: int = 0
  ) -> Iterator[tuple[plans.PlannedBatch, types.Batch]]:
    """Reads batches ahead of their use.

    Args:
      plan: what is in them.
      start: how many of them to pass over.

    Yields:
      Each entry of the plan and its batch.
    """
    stream = streaming.Stream(self.batch, plan, start=start)
    yield from zip(plan[start:], stream, strict=True)


def open_source(
  examples: streaming.Streamed, scaler: scaling.Scaler, num_buckets: int
) -> DiskBatches:
  """A split on disk, its buckets made.

  Args:
    examples: the split.
    scaler: fitted on the training split.
    num_buckets: shapes of batches, at most.

  Returns:
    The source.
  """
  names = examples.modalities
  groups = batching.groups(examples.num_steps, examples.widths)
  shapes = zip(names, examples.num_steps, examples.widths, strict=True)
  buckets = plans.make_buckets(
    examples.length,
    {name: (steps, width) for name, steps, width in shapes if steps},
    [[names[m] for m in group] for group in groups],
    num_buckets,
  )
  return DiskBatches(examples, scaler, buckets)


def num_steps(source: DiskBatches, bucket: int) -> tuple[int, ...]:
  """How long sequences are in the batches of a bucket.

  Args:
    source: the split.
    bucket: a position among its buckets.

  Returns:
    T of each group of modalities.
  """
  shape = source.buckets.num_steps[bucket]
  names = source.examples.modalities
  return tuple(shape[names[group[0]]] for group in source.groups)
