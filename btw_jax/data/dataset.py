"""The examples of a data set by split, with the files they came from."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np

SPLITS = ("train", "valid", "test")
# The number of examples that `chunks` yields at a time.
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Steps:
  """The lengths, times and mask of a sequence modality `[N, T, D]`.

  Attributes:
    length: `[N]` int, valid steps, 1 to T where the modality is present.
    times: `[N, T]` time of each step, from 0 on, ascending; None if the steps
      are evenly spaced.
    observed: `[N, T, D]` bool, values that were measured; None if all were.
  """

  length: np.ndarray
  times: np.ndarray | None = None
  observed: np.ndarray | None = None

  def inside(self, num_steps: int) -> np.ndarray:
    """Returns `[N, T]` bool, T = `num_steps`: False at padding."""
    return np.arange(num_steps) < self.length[:, None]

  def valid_values(self, x: np.ndarray) -> np.ndarray:
    """Returns `[N, T, D]` bool: the observed values of valid steps of `x`."""
    inside = np.broadcast_to(self.inside(x.shape[1])[..., None], x.shape)
    return inside if self.observed is None else inside & self.observed

  def take(self, rows: np.ndarray) -> "Steps":
    """Returns the steps of the examples at `rows`."""
    fields = (self.length, self.times, self.observed)
    return Steps(*(None if x is None else x[rows] for x in fields))

  def padded(self, num_steps: int) -> "Steps":
    """Returns a copy whose arrays have at least `num_steps` steps."""
    return Steps(
      self.length,
      *(_pad_steps(x, num_steps) for x in (self.times, self.observed)),
    )


@dataclasses.dataclass(frozen=True)
class Examples:
  """The examples of one split.

  Attributes:
    features: modality -> `[N, D]` or `[N, T, D]`, float64 if the files have
      more digits than float32, finite where present; 0 at padding and where
      not observed.
    present: modality -> `[N]` bool.
    target: `[N]` (float, or int class numbers) or `[N, C]` (0/1 labels); as
      read, class names too. None if the labels are not known.
    ids: `[N]` strings, unique within the split.
    files: field -> file it was read from, for messages; fields are the
      modalities, "target" and "id".
    steps: modality -> its steps, for sequence modalities only.
    subjects: `[N]` strings, the person each example belongs to; None if
      unknown.
    replaced: modality -> number of values that were not finite and became 0.
    columns: modality -> names of its D features, where they have names.
    vocab_sizes: modality -> number of tokens there are, for sequences `[N, T,
      1]` of the numbers of tokens.
    on_disk: False, because the features are in memory.
  """

  on_disk: ClassVar[bool] = False

  features: Mapping[str, np.ndarray]
  present: Mapping[str, np.ndarray]
  target: np.ndarray | None
  ids: np.ndarray
  files: Mapping[str, str]
  steps: Mapping[str, Steps] = dataclasses.field(default_factory=dict)
  subjects: np.ndarray | None = None
  replaced: Mapping[str, int] = dataclasses.field(default_factory=dict)
  columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  vocab_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self.ids if self.target is None else self.target)

  @property
  def modalities(self) -> tuple[str, ...]:
    """The names of the modalities, in order."""
    return tuple(self.features)

  @property
  def widths(self) -> tuple[int, ...]:
    """The number of features D of each modality."""
    return tuple(x.shape[-1] for x in self.features.values())

  @property
  def num_steps(self) -> tuple[int, ...]:
    """The number of steps T of each modality, 0 for a vector."""
    return tuple(
      x.shape[1] if x.ndim == 3 else 0 for x in self.features.values()
    )

  def observed(self, modality: str) -> np.ndarray:
    """Returns `[N, T, D]` bool: the valid, observed values of a sequence."""
    return self.steps[modality].valid_values(self.features[modality])

  def take(self, rows: np.ndarray) -> "Examples":
    """Returns the examples at `rows`, in that order."""
    return dataclasses.replace(
      self,
      features={m: x[rows] for m, x in self.features.items()},
      present={m: p[rows] for m, p in self.present.items()},
      target=None if self.target is None else self.target[rows],
      ids=self.ids[rows],
      steps={m: s.take(rows) for m, s in self.steps.items()},
      subjects=None if self.subjects is None else self.subjects[rows],
    )

  def select(self, modalities: Sequence[str]) -> "Examples":
    """Returns the examples with the given modalities only, in that order."""
    return dataclasses.replace(
      self,
      features={m: self.features[m] for m in modalities},
      present={m: self.present[m] for m in modalities},
      steps={m: self.steps[m] for m in modalities if m in self.steps},
      vocab_sizes={
        m: v for m, v in self.vocab_sizes.items() if m in modalities
      },
    )

  def chunks(self) -> Iterator["Examples"]:
    """Yields all examples in order, some at a time."""
    for start in range(0, len(self), _CHUNK):
      yield self.take(np.arange(start, min(start + _CHUNK, len(self))))

  def padded(self, num_steps: Mapping[str, int]) -> "Examples":
    """Returns the examples with sequences of at least `num_steps[m]` steps."""
    return dataclasses.replace(
      self,
      features={
        m: _pad_steps(x, num_steps[m]) if m in self.steps else x
        for m, x in self.features.items()
      },
      steps={m: s.padded(num_steps[m]) for m, s in self.steps.items()},
    )

  def averaged(self) -> "Examples":
    """Returns the examples with each sequence replaced by its mean `[N, D]`.

    Sequences of tokens, which have no mean, stay as they are.
    """
    features = dict(self.features)
    tokens = {m: s for m, s in self.steps.items() if m in self.vocab_sizes}
    for modality in self.steps.keys() - tokens.keys():
      # Padding and missing values are 0, so they do not change the sum.
      count = self.observed(modality).sum(axis=1)
      features[modality] = features[modality].sum(axis=1) / np.maximum(count, 1)
    return dataclasses.replace(self, features=features, steps=tokens)


def _pad_steps(x, num_steps):
  """Pads `[N, T, ...]` with zeros to at least `num_steps` steps; keeps None."""
  if x is None or x.shape[1] >= num_steps:
    return x
  widths = [(0, 0)] * x.ndim
  widths[1] = (0, num_steps - x.shape[1])
  return np.pad(x, widths)


def concatenate(splits: Sequence[Examples]) -> Examples:
  """Joins splits of the same modalities and numbers of steps into one.

  An optional field that is None in one split is None in the result.
  """
  first = splits[0]

  def join(arrays):
    arrays = list(arrays)
    return None if any(x is None for x in arrays) else np.concatenate(arrays)

  return Examples(
    features={m: join(e.features[m] for e in splits) for m in first.features},
    present={m: join(e.present[m] for e in splits) for m in first.features},
    target=join(e.target for e in splits),
    ids=join(e.ids for e in splits),
    files=first.files,
    steps={
      m: Steps(
        join(e.steps[m].length for e in splits),
        join(e.steps[m].times for e in splits),
        join(e.steps[m].observed for e in splits),
      )
      for m in first.steps
    },
    subjects=join(e.subjects for e in splits),
    replaced={
      m: sum(e.replaced.get(m, 0) for e in splits) for m in first.features
    },
    columns=first.columns,
    vocab_sizes=first.vocab_sizes,
  )


def pad_to_longest(splits: Mapping[str, Examples]) -> dict[str, Examples]:
  """Pads the sequences of all splits to the longest of any split."""
  longest = {}
  for examples in splits.values():
    for modality in examples.steps:
      num_steps = examples.features[modality].shape[1]
      longest[modality] = max(longest.get(modality, 0), num_steps)
  return {split: e.padded(longest) for split, e in splits.items()}


class LoadedSplits(NamedTuple):
  """The result of a dataset loader.

  Attributes:
    splits: split name -> examples, for those of train, valid and test that the
      files have.
    task: name of the task; None to infer it from the labels.
    notes: lines for the log.
    summary: the result of `describe.describe`, if it is known already.
  """

  splits: Mapping[str, Examples]
  task: str | None = None
  notes: tuple[str, ...] = ()
  summary: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
  """The splits of a data set, which all have the same modalities.

  Attributes:
    name: the name of its dataset loader.
    task: one of regression, binary, multiclass, multilabel.
    num_classes: classes or labels; 1 for regression and binary.
    classes: the classes, or the numbers of the labels, in order; none for
      regression.
    splits: split name -> examples.
    drawn: True if the splits or added noise depend on the seed.
    notes: lines for the log.
  """

  name: str
  task: str
  num_classes: int
  classes: tuple[int | bool | str, ...]
  splits: Mapping[str, Examples]
  drawn: bool
  notes: tuple[str, ...] = ()

  @property
  def modalities(self) -> tuple[str, ...]:
    """The names of the modalities, in order."""
    return next(iter(self.splits.values())).modalities

  @property
  def columns(self) -> Mapping[str, Sequence[str]]:
    """The names of the features of each modality that has names."""
    return next(iter(self.splits.values())).columns

  @property
  def vocab_sizes(self) -> Mapping[str, int]:
    """The number of tokens of each modality that holds tokens."""
    return next(iter(self.splits.values())).vocab_sizes

  @property
  def widths(self) -> tuple[int, ...]:
    """The number of features D of each modality."""
    return next(iter(self.splits.values())).widths

  @property
  def num_steps(self) -> tuple[int, ...]:
    """The number of steps T of each modality, 0 for a vector."""
    return next(iter(self.splits.values())).num_steps


def complete(
  features: Mapping[str, np.ndarray],
  target: np.ndarray | None,
  *,
  ids: np.ndarray | None = None,
  present: Mapping[str, np.ndarray] | None = None,
  files: Mapping[str, str] | None = None,
  steps: Mapping[str, Steps] | None = None,
  subjects: np.ndarray | None = None,
  replaced: Mapping[str, int] | None = None,
  columns: Mapping[str, Sequence[str]] | None = None,
  vocab_sizes: Mapping[str, int] | None = None,
  name: str = "",
) -> Examples:
  """Builds `Examples` and fills in defaults for what is not given.

  By default ids are row numbers, every modality is present and every step is
  valid. `name` is the file of the fields that `files` does not list. Values at
  padding and values that were not observed become 0.
  """
  present = dict(present or {})
  if ids is None:
    ids = np.arange(
      len(next(iter(features.values())) if target is None else target)
    )
  default_files = {field: name for field in (*features, "target", "id")}
  features = {m: _to_floats(x) for m, x in features.items()}
  steps = {
    m: (steps or {}).get(m) or Steps(np.full(len(x), x.shape[1]))
    for m, x in features.items()
    if x.ndim == 3
  }
  for m, s in steps.items():
    features[m] = np.where(s.valid_values(features[m]), features[m], 0)
  return Examples(
    features=features,
    present={
      m: np.asarray(present.get(m, np.ones(len(x), bool)), bool)
      for m, x in features.items()
    },
    target=None if target is None else np.asarray(target),
    ids=np.asarray(ids).astype(str),
    files={**default_files, **(files or {})},
    steps=steps,
    subjects=None if subjects is None else np.asarray(subjects).astype(str),
    replaced=dict(replaced or {}),
    columns=dict(columns or {}),
    vocab_sizes=dict(vocab_sizes or {}),
  )


def _to_floats(x):
  """Returns an array as float32 if that holds all its values, else float64."""
  x = np.asarray(x)
  is_small = np.can_cast(x.dtype, np.float32)
  return x.astype(np.float32 if is_small else np.float64, copy=False)


def deduplicate_ids(
  splits: Mapping[str, Examples], task: str | None
) -> LoadedSplits:
  """Appends "#row" to each id that an earlier row of its split has too.

  A note gives the number of changed ids of each split that has some.
  """
  unique, notes = {}, []
  for split, examples in splits.items():
    _, first, inverse = np.unique(
      examples.ids, return_index=True, return_inverse=True
    )
    rows = np.arange(len(examples))
    is_repeated = rows != first[inverse]
    if is_repeated.any():
      ids = [
        f"{i}#{row}" if repeated else i
        for i, row, repeated in zip(
          examples.ids, rows, is_repeated, strict=True
        )
      ]
      examples = dataclasses.replace(examples, ids=np.array(ids, str))
      notes.append(
        f"{split}: {np.count_nonzero(is_repeated)} ids repeat those of earlier"
        " rows: their row number is appended"
      )
    unique[split] = examples
  return LoadedSplits(unique, task, tuple(notes))
