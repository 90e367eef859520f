"""Classes: the labels of the data, and their numbers 0 to C − 1."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib

# A class: a whole number, a truth value or a name.
Class = int | bool | str


def classes_of(task: str, target: np.ndarray) -> tuple[Class, ...]:
  """Returns the classes or labels of training targets, in order.

  The classes are the distinct values of the targets `[N]`: numbers in ascending
  order, or words in alphabetical order. Several labels `[N, C]` are numbered.
  A regression has none.
  """
  if task == "regression":
    return ()
  if task == "multilabel":
    return tuple(range(target.shape[-1]))
  values = np.unique(target)
  if is_number(values) and np.all(values == np.round(values)):
    values = values.astype(np.int64)
  return tuple(values.tolist())


def is_one_hot(target: np.ndarray) -> bool:
  """Returns True for labels `[N, C]` of which every row has exactly one."""
  if target.ndim != 2 or target.dtype.kind not in "fiub":
    return False
  return bool(np.isin(target, (0, 1)).all() and np.all(target.sum(axis=1) == 1))


def from_one_hot(
  examples: dataset_lib.Examples, task: str
) -> dataset_lib.Examples:
  """Returns one-hot targets `[N, C]` as the classes `[N]` that a task needs."""
  target = examples.target
  if task not in ("binary", "multiclass") or not is_one_hot(target):
    return examples
  return dataclasses.replace(examples, target=target.argmax(axis=1))


def encode(
  examples: dataset_lib.Examples, task: str, classes: Sequence[Class]
) -> dataset_lib.Examples:
  """Casts targets: classes to their numbers in `classes`, values to float64.

  Raises:
    InputError: if a label is not one of `classes`, or is not a whole number or
      a name; if a label of several is neither 0 nor 1; or if the shape or the
      number of classes does not fit the task.
  """
  target, file = examples.target, examples.files["target"]
  if (task == "multilabel") != (target.ndim == 2):
    raise errors.InputError(
      f"{file}: the target has shape {target.shape}, which does not fit"
      f" --task={task}: give [N], or [N, labels] for multilabel."
    )
  if task == "regression":
    if not is_number(target):
      raise errors.InputError(
        f"{file}: the target of row 0 is {str(target[0])!r}: give numbers, or"
        " set --task=multiclass."
      )
    target = target.astype(np.float64)
  elif task == "multilabel":
    _check_several(target, file, len(classes))
    target = target.astype(np.int32)
  else:
    if task == "binary" and len(classes) > 2:
      raise errors.InputError(
        f"{file}: the training targets have {len(classes)} values"
        f" ({_shorten(classes)}), but --task=binary has two classes:"
        " set --task=multiclass."
      )
    target = _to_numbers(target, file, task, classes)
  return dataclasses.replace(examples, target=target)


def _to_numbers(target, file, task, classes):
  """Returns the number of each label `[N]` in `classes`, int32."""
  values, first, inverse = np.unique(
    target, return_index=True, return_inverse=True
  )
  for value, row in zip(values, first, strict=True):
    if is_number(values) and value != np.round(value):
      raise errors.InputError(
        f"{file}: the label of row {row} is {value}, but {task} labels are"
        " whole numbers or names: change it, or set --task=regression."
      )
  check_known(file, target, classes)
  numbers = {name: number for number, name in enumerate(names(classes))}
  codes = np.array([numbers[name] for name in names(values)], np.int32)
  return codes[inverse]


def check_known(
  file: str, target: np.ndarray, classes: Sequence[Class]
) -> None:
  """Checks that each label `[N]` is one of the classes, by name.

  Raises:
    InputError: naming the first label that is not.
  """
  known = set(names(classes))
  values, first = np.unique(target, return_index=True)
  for name, row in zip(names(values), first, strict=True):
    if name not in known:
      raise errors.InputError(
        f"{file}: the label of row {row} is {name}, but the training labels"
        f" are {_shorten(classes)}: change it, or leave the row out."
      )


def _check_several(target, file, num_labels):
  """Checks labels `[N, C]`: each of them is 0 or 1."""
  if target.shape[1] != num_labels:
    raise errors.InputError(
      f"{file}: the target has {target.shape[1]} labels per row, but the model"
      f" has {num_labels}: give the same."
    )
  bad = np.flatnonzero(~np.isin(target, (0, 1)).all(axis=1))
  if len(bad):
    raise errors.InputError(
      f"{file}: the label of row {bad[0]} is {target[bad[0]]}, but multilabel"
      " labels are 0 or 1: renumber them, or set --task."
    )


def is_number(values: np.ndarray) -> bool:
  """Returns True for targets that are numbers, not names or truth values."""
  return np.issubdtype(values.dtype, np.number)


def names(values: np.ndarray | Sequence[Class]) -> list[str]:
  """Returns the names of classes: whole numbers have no fraction."""
  values = np.asarray(values)
  if is_number(values):
    return [f"{value:.17g}" for value in values]
  return [str(value) for value in values]


def _shorten(classes):
  """Lists the first classes."""
  shown = ", ".join(names(classes)[:6])
  return f"{shown} ..." if len(classes) > 6 else shown
