"""The splits that stay on disk and are read ahead while a model trains.

Metadata (targets, presence, lengths) is held in memory; features are read by
record number. A batch is padded to the shape of its bucket, so that sequences
of many lengths need few shapes. The rows of all batches are planned before
anything is read, so the number of batches read is enough to resume a stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, ClassVar

import numpy as np

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import records

# More threads, or more batches read ahead, gain nothing on two cores.
_THREADS, _AHEAD = 2, 2
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Streamed:
  """A split whose features stay on disk.

  Attributes:
    reader: reader of the records.
    rows: `[N]` numbers of the records.
    modalities: names, in order.
    average: True to replace each sequence by its mean over the steps.
    present: modality -> `[N]` bool.
    length: modality -> `[N]` int, for modalities that are sequences on disk.
    target: `[N]` or `[N, C]`.
    ids: `[N]` strings.
    files: field -> folder, for messages.
    subjects: `[N]` strings, or None if unknown.
    on_disk: True, unlike for `dataset.Examples`.
  """

  on_disk: ClassVar[bool] = True

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

  @property
  def vocab_sizes(self) -> Mapping[str, int]:
    """Empty, because no modality on disk holds tokens."""
    return {}

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self.rows)

  @property
  def replaced(self) -> dict[str, int]:
    """Empty: non-finite values were replaced before they were written."""
    return {}

  @property
  def columns(self) -> dict[str, tuple[str, ...]]:
    """Empty: records have no names of features."""
    return {}

  @property
  def widths(self) -> tuple[int, ...]:
    """The number of features D of each modality."""
    return tuple(self.reader.schemas[m].width for m in self.modalities)

  @property
  def num_steps(self) -> tuple[int, ...]:
    """The number of steps T of each modality, 0 for a vector."""
    if self.average:
      return (0,) * len(self.modalities)
    return tuple(self.reader.schemas[m].num_steps for m in self.modalities)

  def take(self, rows: np.ndarray) -> "Streamed":
    """Returns the examples at `rows`, in that order."""
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
    """Returns the examples with the given modalities only, in that order."""
    return dataclasses.replace(
      self,
      modalities=tuple(modalities),
      present={m: self.present[m] for m in modalities},
      length={m: self.length[m] for m in modalities if m in self.length},
    )

  def padded(self, num_steps: Mapping[str, int]) -> "Streamed":
    """Returns the examples with sequences of at least `num_steps[m]` steps."""
    schemas = {
      m: dataclasses.replace(
        s, num_steps=s.num_steps and max(s.num_steps, num_steps.get(m, 0))
      )
      for m, s in self.reader.schemas.items()
    }
    return dataclasses.replace(self, reader=self.reader.with_schemas(schemas))

  def averaged(self) -> "Streamed":
    """Returns the examples with each sequence replaced by its mean `[N, D]`."""
    return dataclasses.replace(self, average=True)

  def read(
    self, rows: np.ndarray, num_steps: Mapping[str, int] | None = None
  ) -> dataset_lib.Examples:
    """Reads the examples at `rows` into memory.

    `num_steps` maps a modality to the steps T of its array, by default those of
    the longest sequence of the split. The steps of all sequences have times.
    """
    examples = self.reader.read(self.rows[rows], num_steps)
    examples = examples.select(self.modalities)
    examples = dataclasses.replace(examples, target=self.target[rows])
    if self.average:
      return examples.averaged()
    return dataclasses.replace(
      examples,
      steps={
        m: self._fill_times(m, steps, examples)
        for m, steps in examples.steps.items()
      },
    )

  def _fill_times(self, modality, steps, examples):
    """Returns steps with evenly spaced times if they have none."""
    if steps.times is not None:
      return steps
    # Spaced by the longest sequence of the split, not by the array: a step must
    # have the same time in arrays of different T.
    times = np.linspace(0, 1, self.reader.schemas[modality].num_steps)
    shape = examples.features[modality].shape[:2]
    times = np.broadcast_to(times[: shape[1]].astype(np.float32), shape)
    return dataclasses.replace(steps, times=times)

  def chunks(self) -> Iterator[dataset_lib.Examples]:
    """Yields all examples in order, some at a time."""
    plan = [
      np.arange(start, min(start + _CHUNK, len(self)))
      for start in range(0, len(self), _CHUNK)
    ]
    yield from Stream(self.read, plan)


def open_split(reader: records.Reader) -> Streamed:
  """Reads the metadata of every record; returns the split on disk."""
  indices = [
    reader.index(np.arange(start, min(start + _CHUNK, len(reader))))
    for start in range(0, len(reader), _CHUNK)
  ]
  index = records.Index(
    *(
      {m: np.concatenate([chunk[m] for chunk in chunks]) for m in chunks[0]}
      if isinstance(chunks[0], dict)
      else np.concatenate(chunks)
      for chunks in zip(*indices, strict=True)
    )
  )
  return Streamed(
    reader=reader,
    rows=np.arange(len(reader)),
    modalities=tuple(reader.schemas),
    average=False,
    present=index.present,
    length=index.length,
    target=index.target,
    ids=index.ids,
    files={f: reader.name for f in (*reader.schemas, "target", "id")},
    subjects=index.subjects if reader.subjects else None,
  )


class Stream:
  """An iterator over items that threads make ahead of their use, in order.

  Attributes:
    position: the number of items skipped or returned; a new stream that starts
      there goes on with the next item.
  """

  def __init__(
    self, make: Callable[[Any], Any], plan: Sequence[Any], *, start: int = 0
  ):
    """Starts the threads.

    Args:
      make: makes an item from an entry of the plan; called on a thread.
      plan: one entry per item.
      start: the number of entries to skip.
    """
    # This import takes longer than reading most data sets.
    import grain

    options = grain.ReadOptions(
      num_threads=_THREADS, prefetch_buffer_size=_AHEAD
    )
    items = grain.MapDataset.source(_Planned(make, plan[start:]))
    self._items = iter(items.to_iter_dataset(options))
    self.position = start

  def __iter__(self) -> "Stream":
    """Returns the stream itself."""
    return self

  def __next__(self) -> Any:
    """Returns the next item."""
    item = next(self._items)
    self.position += 1
    return item


class _Planned:
  """A data source for `grain` that makes item i from entry i of a plan."""

  def __init__(self, make, plan):
    self._make, self._plan = make, plan

  def __len__(self):
    return len(self._plan)

  def __getitem__(self, i):
    return self._make(self._plan[i])
