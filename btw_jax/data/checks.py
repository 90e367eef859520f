"""Checks of what was read, before any training.

Each failure is one `InputError` that names the file, the field and the first
offending row (0-based), and says what to do.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib

# An integer-valued target with more distinct values than this is a quantity.
_MAX_CLASSES = 20


def check_examples(split: str, examples: dataset_lib.Examples) -> None:
  """Checks one split on its own.

  Args:
    split: its name, for messages.
    examples: what a source yielded.

  Raises:
    InputError: for an empty split, mismatched lengths, duplicate ids, values
      that are not finite, or a modality that no example has.
  """
  check_rows(split, examples)
  files = examples.files
  for modality, x in examples.features.items():
    place = f"{files[modality]}: modality {modality!r}"
    present = examples.present[modality]
    if not present.any():
      raise errors.InputError(
        f"{place} is absent from every example of split {split!r}: leave it"
        " out with --modalities."
      )
    wrong = ~np.isfinite(x) & present.reshape(-1, *[1] * (x.ndim - 1))
    if wrong.any():
      row, *rest = np.argwhere(wrong)[0]
      names = ("column",) if x.ndim == 2 else ("step", "column")
      where = ", ".join(f"{n} {i}" for n, i in zip(names, rest, strict=True))
      raise errors.InputError(
        f"{place}, row {row}, {where} is {x[row, *rest]}: replace it, or mark"
        " the modality absent from that row."
      )
    if modality in examples.steps:
      _check_times(place, present, examples.steps[modality])
  _check_finite_target(examples)
  _check_ids(examples)


def check_rows(split: str, examples: dataset_lib.Examples) -> None:
  """Checks that every field of a split has a row for every example.

  Args:
    split: its name, for messages.
    examples: what a source yielded.

  Raises:
    InputError: for an empty split, mismatched lengths, or targets that are no
      numbers.
  """
  files = examples.files
  if len(examples) == 0:
    raise errors.InputError(
      f"{files['target']}: split {split!r} has no examples: give at least one."
    )
  for modality, x in examples.features.items():
    place = f"{files[modality]}: modality {modality!r}"
    present = examples.present[modality]
    for what, length in (("rows", len(x)), ("presence values", len(present))):
      if length != len(examples):
        raise errors.InputError(
          f"{place} has {length} {what} but there are {len(examples)} targets"
          f" in {files['target']}: give one per example."
        )
  if len(examples.ids) != len(examples):
    raise errors.InputError(
      f"{files['id']}: {len(examples.ids)} ids for {len(examples)} examples of"
      f" split {split!r}: give one per example."
    )
  target = examples.target
  if not np.issubdtype(target.dtype, np.number) and target.dtype != bool:
    raise errors.InputError(
      f"{files['target']}: the target holds {target.dtype} values: give"
      " numbers."
    )


def in_words(shape: Sequence[int]) -> str:
  """What an example has of a modality, for messages.

  Args:
    shape: `(D,)` or `(T, D)`; T is 0 for a vector too.

  Returns:
    Such as "3 features" or "5 steps of 3 features".
  """
  stepped = len(shape) == 2 and shape[0]
  steps = f"{shape[0]} steps of " if stepped else ""
  return f"{steps}{shape[-1]} features"


def infer_task(target: np.ndarray) -> str:
  """The task that a target suggests.

  Args:
    target: `[N]` or `[N, C]`.

  Returns:
    "multilabel" for a matrix, "regression" for fractions or more than 20
    distinct values, else "binary" or "multiclass".
  """
  if target.ndim == 2:
    return "multilabel"
  values = np.unique(target)
  if len(values) > _MAX_CLASSES or np.any(values != np.round(values)):
    return "regression"
  return "binary" if set(values.tolist()) <= {0, 1} else "multiclass"


def check_alike(splits: Mapping[str, dataset_lib.Examples]) -> None:
  """Checks that splits have the same modalities, as wide in each.

  Args:
    splits: as a source yields them.

  Raises:
    InputError: naming the first that differs.
  """
  (first, one), *others = splits.items()
  for split, other in others:
    for name, has, lacking, lacks in (
      (first, one, split, other), (split, other, first, one)
    ):  # fmt: skip
      for modality in has.modalities:
        if modality not in lacks.modalities:
          raise errors.InputError(
            f"{lacks.files['target']}: split {lacking!r} has no modality"
            f" {modality!r}, but {name!r} has it: add it, or choose others"
            " with --modalities."
          )
    for modality, x in one.features.items():
      there = other.features[modality]
      if (there.ndim, there.shape[-1]) != (x.ndim, x.shape[-1]):
        raise errors.InputError(
          f"{other.files[modality]}: modality {modality!r} has"
          f" {in_words(there.shape[1:])}, but {in_words(x.shape[1:])} in"
          f" {one.files[modality]}: give the same in every split."
        )


def check_dataset(dataset: dataset_lib.Dataset) -> None:
  """Checks the splits against each other and against the task.

  Args:
    dataset: the whole data set.

  Raises:
    InputError: for labels out of range, a training target or modality that is
      constant.
  """
  train = dataset.splits["train"]
  for examples in dataset.splits.values():
    check_labels(dataset.task, dataset.num_classes, examples)
  if np.all(train.target == train.target[:1]):
    raise errors.InputError(
      f"{train.files['target']}: every training target is"
      f" {train.target[0]}: there is nothing to learn; give another target."
    )
  if isinstance(train, dataset_lib.Examples):
    for modality, x in train.features.items():
      x = x[train.present[modality]]
      check_varies(train.files[modality], modality, bool(np.any(x != x[:1])))


def check_varies(file: str, modality: str, varies: bool) -> None:
  """Checks that a modality can tell training examples apart.

  Args:
    file: that it was read from.
    modality: its name.
    varies: whether any of its features does.

  Raises:
    InputError: if not.
  """
  if not varies:
    raise errors.InputError(
      f"{file}: modality {modality!r} is constant over the training split and"
      " can predict only a constant: leave it out with --modalities."
    )


def check_labels(
  task: str, num_classes: int, examples: dataset_lib.Examples
) -> None:
  """Checks that labels are whole numbers from 0, below the number of classes.

  Args:
    task: name of the task; a regression has no labels.
    num_classes: classes that the model knows.
    examples: a split.

  Raises:
    InputError: naming the first label out of range.
  """
  if task == "regression":
    return
  target = examples.target.reshape(len(examples), -1)
  bound = num_classes if task == "multiclass" else 2
  wrong = (target < 0) | (target >= bound) | (target != np.round(target))
  bad = np.flatnonzero(wrong.any(axis=1))
  if len(bad):
    raise errors.InputError(
      f"{examples.files['target']}: the label of row {bad[0]} is"
      f" {examples.target[bad[0]]}, but {task} labels are 0 to"
      f" {bound - 1}: renumber them, or set --task."
    )


def _check_times(place, present, steps):
  times = steps.times
  if times is None:
    return
  there = steps.inside(times.shape[1]) & present[:, None]
  back = np.diff(times, axis=1, prepend=0.0) < 0
  bad = np.argwhere(there & (back | ~np.isfinite(times)))
  if len(bad):
    row, step = bad[0]
    raise errors.InputError(
      f"{place}, row {row}, step {step} was taken at {times[row, step]}: give"
      " finite times from 0 on, in order."
    )


def _check_finite_target(examples):
  target, place = examples.target, examples.files["target"]
  rows = np.isfinite(target.astype(np.float64)).reshape(len(target), -1)
  bad = np.flatnonzero(~rows.all(axis=1))
  if len(bad):
    raise errors.InputError(
      f"{place}: the target of row {bad[0]} is {target[bad[0]]}: give a finite"
      " number or drop the row."
    )


def _check_ids(examples):
  place = examples.files["id"]
  _, first, count = np.unique(
    examples.ids, return_index=True, return_counts=True
  )
  if np.any(count > 1):
    repeated = str(examples.ids[first[np.argmax(count > 1)]])
    rows = np.flatnonzero(examples.ids == repeated)
    raise errors.InputError(
      f"{place}: id {repeated!r} of row {rows[1]} is that of row {rows[0]} too:"
      " make ids unique, or leave them out to use row numbers."
    )
