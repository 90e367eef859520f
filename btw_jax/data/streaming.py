"""Splits that stay on disk, read batch by batch while others are trained on.

What is small (targets, presence, lengths) is held in memory; features are read
by record number. A batch is padded to the shape of its bucket, so sequences of
many lengths make few shapes. Which rows a batch has is decided before anything
is read, hence a position in the stream is a number of batches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import records

# More threads, or more batches that wait, gain nothing on two cores.
_THREADS, _AHEAD = 2, 2
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Streamed:
  """A split of which only features are left on disk.

  Attributes:
    reader: of the records.
    rows: `[N]` numbers of the records.
    modalities: names, in order.
    average: whether sequences are replaced by their mean step.
    present: modality -> `[N]` bool.
    length: modality -> `[N]` int, for those that come in steps on disk.
    target: `[N]` or `[N, C]`.
    ids: `[N]` strings.
    files: field -> folder, for messages.
    subjects: `[N]` strings, or None.
  """

  reader: records.Reader
  rows: np.ndarray
  modalities: tuple[str, ...]
  average: bool
  present: Mapping[str, np.ndarray]
  length: Mapping[str, np.ndarray]
  target: np.ndarray
  ids: np.ndarray
  files: Mapping[str, str]
  subjects: np.ndarray | None

  def __len__(self) -> int:
    """Number of examples."""
    return len(self.rows)

  @property
  def replaced(self) -> dict[str, int]:
    """None: what was not finite was replaced before it was written."""
    return {}

  @property
  def widths(self) -> tuple[int, ...]:
    """Features of each modality."""
    return tuple(self.reader.layout[m].width for m in self.modalities)

  @property
  def num_steps(self) -> tuple[int, ...]:
    """Most steps of each modality, 0 for a vector."""
    if self.average:
      return (0,) * len(self.modalities)
    return tuple(self.reader.layout[m].num_steps for m in self.modalities)

  def take(self, rows: np.ndarray) -> "Streamed":
    """The examples of those rows, in that order."""
    return dataclasses.replace(
      self,
      rows=self.rows[rows],
      present={m: p[rows] for m, p in self.present.items()},
      length={m: n[rows] for m, n in self.length.items()},
      target=self.target[rows],
      ids=self.ids[rows],
      subjects=None if self.subjects is None else self.subjects[rows],
    )

  def select(self, modalities: Sequence[str]) -> "Streamed":
    """The same with those modalities, in that order."""
    return dataclasses.replace(
      self,
      modalities=tuple(modalities),
      present={m: self.present[m] for m in modalities},
      length={m: self.length[m] for m in modalities if m in self.length},
    )

  def padded(self, num_steps: Mapping[str, int]) -> "Streamed":
    """The same where sequences have at least so many steps."""
    layout = {
      m: dataclasses.replace(
        own,
        num_steps=own.num_steps and max(own.num_steps, num_steps.get(m, 0)),
      )
      for m, own in self.reader.layout.items()
    }
    return dataclasses.replace(self, reader=self.reader.lengthened(layout))

  def averaged(self) -> "Streamed":
    """The same with sequences averaged over the steps that are there."""
    return dataclasses.replace(self, average=True)

  def read(
    self, rows: np.ndarray, num_steps: Mapping[str, int] | None = None
  ) -> dataset_lib.Examples:
    """Examples in memory.

    Args:
      rows: which of the N.
      num_steps: modality -> steps of its array; the most of any by default.

    Returns:
      The examples, with times for steps that were evenly spaced: in arrays of
      several sizes a step must have one time.
    """
    found = self.reader.read(self.rows[rows], num_steps).select(self.modalities)
    found = dataclasses.replace(found, target=self.target[rows])
    if self.average:
      return found.averaged()
    return dataclasses.replace(
      found,
      steps={
        m: self._timed(m, steps, found) for m, steps in found.steps.items()
      },
    )

  def _timed(self, modality, steps, examples):
    if steps.times is not None:
      return steps
    evenly = np.linspace(0, 1, self.reader.layout[modality].num_steps)
    shape = examples.features[modality].shape[:2]
    evenly = np.broadcast_to(evenly[: shape[1]].astype(np.float32), shape)
    return dataclasses.replace(steps, times=evenly)

  def chunks(self) -> Iterator[dataset_lib.Examples]:
    """All examples, some at a time, in order."""
    plan = [
      np.arange(start, min(start + _CHUNK, len(self)))
      for start in range(0, len(self), _CHUNK)
    ]
    yield from Stream(self.read, plan)


def open_split(reader: records.Reader) -> Streamed:
  """Reads what is small of every record.

  Args:
    reader: of the records.

  Returns:
    The split, all modalities, sequences as they are.
  """
  parts = [
    reader.index(np.arange(start, min(start + _CHUNK, len(reader))))
    for start in range(0, len(reader), _CHUNK)
  ]
  index = records.Index(
    *(
      {m: np.concatenate([p[m] for p in each]) for m in each[0]}
      if isinstance(each[0], dict)
      else np.concatenate(each)
      for each in zip(*parts, strict=True)
    )
  )
  return Streamed(
    reader=reader,
    rows=np.arange(len(reader)),
    modalities=tuple(reader.layout),
    average=False,
    present=index.present,
    length=index.length,
    target=index.target,
    ids=index.ids,
    files={f: reader.name for f in (*reader.layout, "target", "id")},
    subjects=index.subjects if reader.subjects else None,
  )


class Stream:
  """Items made ahead of their use, on threads, in order.

  Attributes:
    position: how many were handed out, or passed over; where to start from to
      go on after them.
  """

  def __init__(
    self, make: Callable[[Any], Any], plan: Sequence[Any], *, start: int = 0
  ):
    """Starts to read.

    Args:
      make: makes an item from its entry of the plan, on a thread.
      plan: an entry per item.
      start: entries to pass over.
    """
    # Takes longer to import than most data sets to read.
    import grain

    options = grain.ReadOptions(
      num_threads=_THREADS, prefetch_buffer_size=_AHEAD
    )
    items = grain.MapDataset.source(_Planned(make, plan[start:]))
    self._items = iter(items.to_iter_dataset(options))
    self.position = start

  def __iter__(self) -> "Stream":
    """Itself."""
    return self

  def __next__(self) -> Any:
    """The next item."""
    item = next(self._items)
    self.position += 1
    return item


class _Planned:
  """Makes item i from entry i."""

  def __init__(self, make, plan):
    self._make, self._plan = make, plan

  def __len__(self):
    return len(self._plan)

  def __getitem__(self, i):
    return self._make(self._plan[i])
