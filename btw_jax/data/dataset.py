"""What a source yields: examples by split, with the place they came from."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import numpy as np

SPLITS = ("train", "valid", "test")
# Examples that are looked at together.
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Steps:
  """What a modality that comes in steps, `[N, T, D]`, has besides its values.

  Attributes:
    length: `[N]` int, steps that are there, 1 to T where it is present.
    times: `[N, T]` when each was taken, from 0 on, ascending; None if evenly.
    observed: `[N, T, D]` bool, values that were measured; None if all were.
  """

  length: np.ndarray
  times: np.ndarray | None = None
  observed: np.ndarray | None = None

  def inside(self, num_steps: int) -> np.ndarray:
    """`[N, T]` bool: the steps that are there, of T."""
    return np.arange(num_steps) < self.length[:, None]

  def there(self, x: np.ndarray) -> np.ndarray:
    """`[N, T, D]` bool: the values of `x` that are there."""
    inside = np.broadcast_to(self.inside(x.shape[1])[..., None], x.shape)
    return inside if self.observed is None else inside & self.observed

  def take(self, rows: np.ndarray) -> "Steps":
    """Those of some examples."""
    fields = (self.length, self.times, self.observed)
    return Steps(*(None if x is None else x[rows] for x in fields))

  def padded(self, num_steps: int) -> "Steps":
    """The same, of arrays with so many steps."""
    return Steps(
      self.length, *(_longer(x, num_steps) for x in (self.times, self.observed))
    )


@dataclasses.dataclass(frozen=True)
class Examples:
  """The examples of one split.

  Attributes:
    features: modality -> `[N, D]` or `[N, T, D]` float32, finite where
      present; 0 past the end and where not observed.
    present: modality -> `[N]` bool.
    target: `[N]` (float, or int class numbers) or `[N, C]` (0/1 labels).
    ids: `[N]` strings, unique within the split.
    files: field -> file it was read from, for messages; fields are the
      modalities, "target" and "id".
    steps: modality -> its steps, for those that come in some.
    subjects: `[N]` strings, whom an example is of; None if nobody knows.
    replaced: modality -> values that were not finite and became 0.
  """

  features: Mapping[str, np.ndarray]
  present: Mapping[str, np.ndarray]
  target: np.ndarray
  ids: np.ndarray
  files: Mapping[str, str]
  steps: Mapping[str, Steps] = dataclasses.field(default_factory=dict)
  subjects: np.ndarray | None = None
  replaced: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    """Number of examples."""
    return len(self.target)

  @property
  def modalities(self) -> tuple[str, ...]:
    """Names of the modalities, in order."""
    return tuple(self.features)

  @property
  def widths(self) -> tuple[int, ...]:
    """Features of each modality."""
    return tuple(x.shape[-1] for x in self.features.values())

  @property
  def num_steps(self) -> tuple[int, ...]:
    """Steps of each modality, 0 for a vector."""
    return tuple(
      x.shape[1] if x.ndim == 3 else 0 for x in self.features.values()
    )

  def observed(self, modality: str) -> np.ndarray:
    """`[N, T, D]` bool: the values of a sequence that are there."""
    return self.steps[modality].there(self.features[modality])

  def take(self, rows: np.ndarray) -> "Examples":
    """The examples of those rows, in that order."""
    return dataclasses.replace(
      self,
      features={m: x[rows] for m, x in self.features.items()},
      present={m: p[rows] for m, p in self.present.items()},
      target=self.target[rows],
      ids=self.ids[rows],
      steps={m: s.take(rows) for m, s in self.steps.items()},
      subjects=None if self.subjects is None else self.subjects[rows],
    )

  def select(self, modalities: Sequence[str]) -> "Examples":
    """The same with those modalities, in that order."""
    return dataclasses.replace(
      self,
      features={m: self.features[m] for m in modalities},
      present={m: self.present[m] for m in modalities},
      steps={m: self.steps[m] for m in modalities if m in self.steps},
    )

  def chunks(self) -> Iterator["Examples"]:
    """All examples, some at a time, in order."""
    for start in range(0, len(self), _CHUNK):
      yield self.take(np.arange(start, min(start + _CHUNK, len(self))))

  def padded(self, num_steps: Mapping[str, int]) -> "Examples":
    """The same with zeros at the end of sequences.

    Args:
      num_steps: modality -> steps that its array is to have, at least.

    Returns:
      The examples.
    """
    return dataclasses.replace(
      self,
      features={
        m: _longer(x, num_steps[m]) if m in self.steps else x
        for m, x in self.features.items()
      },
      steps={m: s.padded(num_steps[m]) for m, s in self.steps.items()},
    )

  def averaged(self) -> "Examples":
    """The same with sequences averaged over the steps that are there."""
    features = dict(self.features)
    for modality in self.steps:
      count = self.observed(modality).sum(axis=1)
      features[modality] = features[modality].sum(axis=1) / np.maximum(count, 1)
    return dataclasses.replace(self, features=features, steps={})


def _longer(x, num_steps):
  """`[N, T, ...]` with zeros behind its steps, or None if that is None."""
  if x is None or x.shape[1] >= num_steps:
    return x
  more = [(0, 0)] * x.ndim
  more[1] = (0, num_steps - x.shape[1])
  return np.pad(x, more)


def concatenate(parts: Sequence[Examples]) -> Examples:
  """Examples one after the other.

  Args:
    parts: of the same modalities and as many steps.

  Returns:
    All of them; what one part knows and another does not is left out.
  """
  first = parts[0]

  def join(each):
    each = list(each)
    return None if any(x is None for x in each) else np.concatenate(each)

  return Examples(
    features={m: join(p.features[m] for p in parts) for m in first.features},
    present={m: join(p.present[m] for p in parts) for m in first.features},
    target=join(p.target for p in parts),
    ids=join(p.ids for p in parts),
    files=first.files,
    steps={
      m: Steps(
        join(p.steps[m].length for p in parts),
        join(p.steps[m].times for p in parts),
        join(p.steps[m].observed for p in parts),
      )
      for m in first.steps
    },
    subjects=join(p.subjects for p in parts),
    replaced={
      m: sum(p.replaced.get(m, 0) for p in parts) for m in first.features
    },
  )


def same_steps(splits: Mapping[str, Examples]) -> dict[str, Examples]:
  """Splits whose sequences are as long as the longest of all.

  Args:
    splits: of the same modalities.

  Returns:
    The splits, padded.
  """
  most = {}
  for examples in splits.values():
    for modality in examples.steps:
      found = examples.features[modality].shape[1]
      most[modality] = max(most.get(modality, 0), found)
  return {split: e.padded(most) for split, e in splits.items()}


class LoadedSplits(NamedTuple):
  """What a source yields.

  Attributes:
    splits: those that it gives, of train, valid and test.
    task: name of the task; None to infer it from the labels.
    notes: lines that a reader of the log should see.
    summary: of `describe.describe`, where it is known already.
  """

  splits: Mapping[str, Examples]
  task: str | None = None
  notes: tuple[str, ...] = ()
  summary: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Splits of one data set, all with the same modalities.

  Attributes:
    name: the source's name.
    task: one of regression, binary, multiclass, multilabel.
    num_classes: classes or labels; 1 for regression and binary.
    splits: split name -> examples.
    drawn: whether a seed decided on splits or noise.
    notes: lines that a reader of the log should see.
  """

  name: str
  task: str
  num_classes: int
  splits: Mapping[str, Examples]
  drawn: bool
  notes: tuple[str, ...] = ()

  @property
  def modalities(self) -> tuple[str, ...]:
    """Names of the modalities, in order."""
    return next(iter(self.splits.values())).modalities

  @property
  def widths(self) -> tuple[int, ...]:
    """Features of each modality."""
    return next(iter(self.splits.values())).widths

  @property
  def num_steps(self) -> tuple[int, ...]:
    """Steps of each modality, 0 for a vector."""
    return next(iter(self.splits.values())).num_steps


def complete(
  features: Mapping[str, np.ndarray],
  target: np.ndarray,
  *,
  ids: np.ndarray | None = None,
  present: Mapping[str, np.ndarray] | None = None,
  files: Mapping[str, str] | None = None,
  steps: Mapping[str, Steps] | None = None,
  subjects: np.ndarray | None = None,
  replaced: Mapping[str, int] | None = None,
  name: str = "",
) -> Examples:
  """Examples with defaults filled in: row numbers as ids, all present.

  What is past the end of a sequence, or was not observed, becomes 0.

  Args:
    features: modality -> `[N, D]` or `[N, T, D]`.
    target: `[N]` or `[N, C]`.
    ids: `[N]`; "0", "1", ... by default.
    present: modality -> `[N]` bool, for those that can be absent.
    files: field -> file.
    steps: modality -> its steps; every step is there by default.
    subjects: `[N]`, whom an example is of.
    replaced: modality -> values that were not finite and became 0.
    name: the file that every field came from, where `files` has no entry.

  Returns:
    The examples.
  """
  present = dict(present or {})
  ids = np.arange(len(target)) if ids is None else ids
  every = {field: name for field in (*features, "target", "id")}
  features = {m: np.asarray(x, np.float32) for m, x in features.items()}
  steps = {
    m: (steps or {}).get(m) or Steps(np.full(len(x), x.shape[1]))
    for m, x in features.items()
    if x.ndim == 3
  }
  for m, own in steps.items():
    features[m] = np.where(own.there(features[m]), features[m], 0)
  return Examples(
    features=features,
    present={
      m: np.asarray(present.get(m, np.ones(len(x), bool)), bool)
      for m, x in features.items()
    },
    target=np.asarray(target),
    ids=np.asarray(ids).astype(str),
    files={**every, **(files or {})},
    steps=steps,
    subjects=None if subjects is None else np.asarray(subjects).astype(str),
    replaced=dict(replaced or {}),
  )


def deduplicate_ids(splits: Mapping[str, Examples], task: str) -> LoadedSplits:
  """Splits whose ids may repeat, told apart by their rows.

  Args:
    splits: from files that do not promise ids of their own for every example.
    task: name of the task.

  Returns:
    The splits, "#row" behind every id that an earlier row has too, and a note
    of how many there were.
  """
  found, notes = {}, []
  for split, examples in splits.items():
    _, first, inverse = np.unique(
      examples.ids, return_index=True, return_inverse=True
    )
    rows = np.arange(len(examples))
    again = rows != first[inverse]
    if again.any():
      ids = [
        f"{i}#{row}" if repeated else i
        for i, row, repeated in zip(examples.ids, rows, again, strict=True)
      ]
      examples = dataclasses.replace(examples, ids=np.array(ids, str))
      notes.append(
        f"{split}: {np.count_nonzero(again)} ids are those of earlier rows:"
        " told apart by their row"
      )
    found[split] = examples
  return LoadedSplits(found, task, tuple(notes))
