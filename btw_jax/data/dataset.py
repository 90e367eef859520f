"""What a source yields: examples by split, with the place they came from."""

from collections.abc import Mapping
import dataclasses

import numpy as np

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Examples:
  """The examples of one split.

  Attributes:
    features: modality -> `[N, D]` float32, finite where present.
    present: modality -> `[N]` bool.
    target: `[N]` (float, or int class numbers) or `[N, C]` (0/1 labels).
    ids: `[N]` strings, unique within the split.
    files: field -> file it was read from, for messages; fields are the
      modalities, "target" and "id".
  """

  features: Mapping[str, np.ndarray]
  present: Mapping[str, np.ndarray]
  target: np.ndarray
  ids: np.ndarray
  files: Mapping[str, str]

  def __len__(self) -> int:
    """Number of examples."""
    return len(self.target)

  def take(self, rows: np.ndarray) -> "Examples":
    """The examples of those rows, in that order."""
    return dataclasses.replace(
      self,
      features={m: x[rows] for m, x in self.features.items()},
      present={m: p[rows] for m, p in self.present.items()},
      target=self.target[rows],
      ids=self.ids[rows],
    )


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
    examples = next(iter(self.splits.values()))
    return tuple(x.shape[1] for x in examples.features.values())


def complete(
  features: Mapping[str, np.ndarray],
  target: np.ndarray,
  *,
  ids: np.ndarray | None = None,
  present: Mapping[str, np.ndarray] | None = None,
  files: Mapping[str, str] | None = None,
  name: str = "",
) -> Examples:
  """Examples with defaults filled in: row numbers as ids, all present.

  Args:
    features: modality -> `[N, D]`.
    target: `[N]` or `[N, C]`.
    ids: `[N]`; "0", "1", ... by default.
    present: modality -> `[N]` bool, for those that can be absent.
    files: field -> file.
    name: the file that every field came from, where `files` has no entry.

  Returns:
    The examples.
  """
  present = dict(present or {})
  ids = np.arange(len(target)) if ids is None else ids
  every = {field: name for field in (*features, "target", "id")}
  return Examples(
    features={m: np.asarray(x, np.float32) for m, x in features.items()},
    present={
      m: np.asarray(present.get(m, np.ones(len(x), bool)), bool)
      for m, x in features.items()
    },
    target=np.asarray(target),
    ids=np.asarray(ids).astype(str),
    files={**every, **(files or {})},
  )
