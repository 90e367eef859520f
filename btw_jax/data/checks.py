"""The checks of loaded data, before any training.

Each failure is one `InputError` that names the file, the field and the first
offending row (0-based), and says what to do.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import labels
from btw_jax.data import names

# Up to this many distinct whole numbers are classes; more are classes only if
# each stands for several examples, and quantities otherwise.
_MAX_CLASSES = 20
_LEAST_PER_CLASS = 5
# Larger targets leave float32.
_LARGEST_TARGET = 1e30


def check_examples(split: str, examples: dataset_lib.Examples) -> None:
  """Checks one split by itself; `split` is its name, for messages.

  Raises:
    InputError: for an empty split, mismatched lengths, duplicate ids, values
      that are not finite, or a modality that no example has.
  """
  check_rows(split, examples)
  files = examples.files
  names.check_texts(files["id"], "id", examples.ids)
  for modality, x in examples.features.items():
    place = f"{files[modality]}: modality {modality!r}"
    present = examples.present[modality]
    if not x.shape[-1]:
      raise errors.InputError(f"{place} has no features: leave it out.")
    # A model may predict examples that all lack a modality.
    if examples.target is not None and not present.any():
      raise errors.InputError(
        f"{place} is absent from every example of split {split!r}: leave it"
        " out with --modalities."
      )
    wrong = ~np.isfinite(x) & present.reshape(-1, *[1] * (x.ndim - 1))
    if wrong.any():
      row, *position = np.argwhere(wrong)[0]
      axes = ("column",) if x.ndim == 2 else ("step", "column")
      where = ", ".join(f"{a} {i}" for a, i in zip(axes, position, strict=True))
      columns = examples.columns.get(modality)
      where += f" ({columns[position[-1]]!r})" if columns else ""
      raise errors.InputError(
        f"{place}, row {row}, {where} is {x[row, *position]}: replace it, or"
        " mark the modality as absent from that row."
      )
    if modality in examples.steps:
      _check_times(place, present, examples.steps[modality])
  if examples.target is not None:
    _check_finite_target(examples)
    # Examples to predict may repeat their ids.
    _check_ids(examples)


def check_rows(split: str, examples: dataset_lib.Examples) -> None:
  """Checks that each field of a split has one row per example.

  Raises:
    InputError: for an empty split, mismatched lengths, or targets that are
      neither numbers nor names.
  """
  files = examples.files
  if len(examples) == 0:
    raise errors.InputError(
      f"{files['target']}: split {split!r} has no examples: give at least one."
    )
  for modality, x in examples.features.items():
    place = f"{files[modality]}: modality {modality!r}"
    present = examples.present[modality]
    if present.ndim != 1:
      raise errors.InputError(
        f"{place} has presence values of shape {present.shape}: give [N]."
      )
    for noun, length in (("rows", len(x)), ("presence values", len(present))):
      if length != len(examples):
        raise errors.InputError(
          f"{place} has {length} {noun} but there are {len(examples)} targets"
          f" in {files['target']}: give one per example."
        )
  if examples.ids.shape != (len(examples),):
    raise errors.InputError(
      f"{files['id']}: {len(examples.ids)} ids for {len(examples)} examples of"
      f" split {split!r}: give one per example."
    )
  target = examples.target
  if target is not None and target.dtype.kind not in "fiubU":
    raise errors.InputError(
      f"{files['target']}: the target holds {target.dtype} values: give numbers"
      " or names."
    )
  if target is not None and target.ndim not in (1, 2):
    raise errors.InputError(
      f"{files['target']}: the target has shape {target.shape}: give [N], or"
      " [N, labels]."
    )


def describe_shape(shape: Sequence[int]) -> str:
  """Returns "3 features" for `(3,)` or `(0, 3)`, "5 steps of ..." for `(5, 3)`.

  `shape` is `(D,)` or `(T, D)` of one example; T may be 0 for a vector.
  """
  is_sequence = len(shape) == 2 and shape[0]
  steps = f"{shape[0]} steps of " if is_sequence else ""
  return f"{steps}{shape[-1]} features"


def infer_task(target: np.ndarray) -> str:
  """Returns the task that `[N]` or `[N, C]` targets suggest.

  This is "multilabel" for a matrix, "regression" for fractions or more than 20
  distinct numbers of which each has fewer than five examples on average, else
  "binary" for two distinct values, or "multiclass".
  """
  if target.ndim == 2:
    return "multilabel"
  values = np.unique(target)
  if np.issubdtype(target.dtype, np.number):
    is_rare = len(target) < _LEAST_PER_CLASS * len(values)
    if np.any(values != np.round(values)) or (
      len(values) > _MAX_CLASSES and is_rare
    ):
      return "regression"
  return "binary" if len(values) <= 2 else "multiclass"


def doubt_task(target: np.ndarray) -> str:
  """Returns what else training targets may be, and its flag, or "".

  The targets are `[N]` or `[N, C]`, and their task was inferred.
  """
  if target.ndim == 2:
    if not labels.is_one_hot(target):
      return ""
    return (
      "labels: every row has exactly one of several labels: if they are the"
      " classes of one label, set --task=multiclass"
    )
  if not np.issubdtype(target.dtype, np.number):
    return ""
  values = np.unique(target)
  if len(values) <= _MAX_CLASSES or np.any(values != np.round(values)):
    return ""
  kinds = ("classes", "multiclass"), ("quantities", "regression")
  if infer_task(target) == "regression":
    kinds = kinds[::-1]
  (inferred, _), (other, task) = kinds
  return (
    f"labels: {len(values)} different whole numbers in {len(target)} rows are"
    f" {inferred}: if they are {other}, set --task={task}"
  )


def check_same_modalities(splits: Mapping[str, dataset_lib.Examples]) -> None:
  """Checks that all splits have the same modalities of the same widths.

  Raises:
    InputError: naming the first modality that differs.
  """
  (first_name, first), *others = splits.items()
  for name, examples in others:
    for has_name, has, lacks_name, lacks in (
      (first_name, first, name, examples), (name, examples, first_name, first)
    ):  # fmt: skip
      for modality in has.modalities:
        if modality not in lacks.modalities:
          raise errors.InputError(
            f"{lacks.files['target']}: split {lacks_name!r} has no modality"
            f" {modality!r}, but {has_name!r} has it: add it, or choose others"
            " with --modalities."
          )
    for modality, x in first.features.items():
      y = examples.features[modality]
      if (y.ndim, y.shape[-1]) != (x.ndim, x.shape[-1]):
        raise errors.InputError(
          f"{examples.files[modality]}: modality {modality!r} has"
          f" {describe_shape(y.shape[1:])}, but {describe_shape(x.shape[1:])}"
          f" in {first.files[modality]}: give the same in every split."
        )


def check_training(train: dataset_lib.Examples) -> None:
  """Checks that the targets and all modalities of the training split vary.

  Raises:
    InputError: for a constant target or modality.
  """
  if np.all(train.target == train.target[:1]):
    raise errors.InputError(
      f"{train.files['target']}: every training target is"
      f" {train.target[0]}: there is nothing to learn; give another target."
    )
  # Streamed splits are checked later, when their statistics are known.
  if not train.on_disk:
    for modality, x in train.features.items():
      x = x[train.present[modality]]
      check_varies(train.files[modality], modality, bool(np.any(x != x[:1])))


def check_varies(file: str, modality: str, varies: bool) -> None:
  """Raises `InputError` if no feature of a modality varies in training."""
  if not varies:
    raise errors.InputError(
      f"{file}: modality {modality!r} is constant over the training split and"
      " can predict only a constant: leave it out with --modalities."
    )


def _check_times(place, present, steps):
  times = steps.times
  if times is None:
    return
  valid = steps.inside(times.shape[1]) & present[:, None]
  decreases = np.diff(times, axis=1, prepend=0.0) < 0
  bad = np.argwhere(valid & (decreases | ~np.isfinite(times)))
  if len(bad):
    row, step = bad[0]
    raise errors.InputError(
      f"{place}, row {row}, step {step} was taken at {times[row, step]}: give"
      " finite times from 0 on, in order."
    )


def _check_finite_target(examples):
  target, place = examples.target, examples.files["target"]
  if not np.issubdtype(target.dtype, np.number):
    return
  rows = np.abs(target.astype(np.float64)).reshape(len(target), -1)
  # Comparisons with NaN are false.
  rows = rows <= _LARGEST_TARGET
  bad = np.flatnonzero(~rows.all(axis=1))
  if len(bad):
    raise errors.InputError(
      f"{place}: the target of row {bad[0]} is {target[bad[0]]}: give a finite"
      f" number up to {_LARGEST_TARGET:g}, or drop the row."
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
      f"{place}: id {repeated!r} of row {rows[1]} is also the id of row"
      f" {rows[0]}: make ids unique, or leave them out to use row numbers."
    )
