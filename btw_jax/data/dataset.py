"""What a source yields: examples by split, with the place they came from."""

from collections.abc import Mapping
import dataclasses

import numpy as np

SPLITS = ("train", "valid", "test")


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
  """

  features: Mapping[str, np.ndarray]
  present: Mapping[str, np.ndarray]
  target: np.ndarray
  ids: np.ndarray
  files: Mapping[str, str]
  steps: Mapping[str, Steps] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    """Number of examples."""
    return len(self.target)

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
    )

  def averaged(self) -> "Examples":
    """The same with sequences averaged over the steps that are there."""
    features = dict(self.features)
    for modality in self.steps:
      count = self.observed(modality).sum(axis=1)
      features[modality] = features[modality].sum(axis=1) / np.maximum(count, 1)
    return dataclasses.replace(self, features=features, steps={})


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
    return tuple(next(iter(self.splits.values())).features)

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
  )
