"""The modalities of examples in memory."""

from collections.abc import Mapping, Sequence
import copy
import dataclasses
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.pipeline import arrays


class Modalities:
  """The modalities of N examples: a mapping from names, and a sequence of rows.

  `modalities["text"]` is one modality; `modalities[rows]` has these examples
  only, so that scikit-learn can split them. `len` and `shape` count examples.

  Args:
    values: modality -> `[N, D]`, or `[N]` for one feature, or `[N, T, D]` for a
      sequence: a NumPy or JAX array, a pandas or pyarrow table, a torch tensor,
      or what NumPy can convert. A list may hold None for an example that lacks
      the modality, and sequences `[t, D]` of any length. A row of NaN lacks it
      too.
    present: modality -> `[N]`, True for an example that has it.
    lengths: modality -> `[N]` number of valid steps of each sequence.
    times: modality -> `[N, T]` time of each step, from 0 on, ascending.
    observed: modality -> `[N, T, D]`, True for a value that was measured.
    ids: `[N]` names of the examples; the index of a pandas table, if it has
      one, or row numbers by default.
    subjects: `[N]` person or source of each example.

  Raises:
    InputError: if a value is wrong; the message names the modality and the row.
  """

  def __init__(
    self,
    values: Mapping[str, Any],
    *,
    present: Mapping[str, Any] | None = None,
    lengths: Mapping[str, Any] | None = None,
    times: Mapping[str, Any] | None = None,
    observed: Mapping[str, Any] | None = None,
    ids: Any = None,
    subjects: Any = None,
  ):
    """Converts the values to arrays."""
    columns = _read_columns(
      values,
      {
        "present": present,
        "lengths": lengths,
        "times": times,
        "observed": observed,
      },
    )
    number = len(next(iter(columns.values())))
    if subjects is not None:
      subjects = _names("subjects", subjects, number)
    index = _shared_index(values)
    if ids is not None:
      ids = _names("ids", ids, number)
    elif index is not None and len(set(index)) == number:
      ids = index
    examples = dataset_lib.complete(
      {name: column.values for name, column in columns.items()},
      None,
      ids=ids,
      present={name: column.present for name, column in columns.items()},
      steps={n: c.steps for n, c in columns.items() if c.steps is not None},
      subjects=subjects,
      columns={n: c.names for n, c in columns.items() if c.names},
      name="modalities",
    )
    self.examples, self.index = examples, index

  def replace_examples(
    self, examples: dataset_lib.Examples, *, same_rows: bool
  ) -> "Modalities":
    """Returns other examples, with the index if they are of the same rows."""
    changed = copy.copy(self)
    changed.examples = examples
    changed.index = self.index if same_rows else None
    return changed

  @property
  def shape(self) -> tuple[int]:
    """The number of examples, as scikit-learn asks for it."""
    return (len(self),)

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self.examples)

  def __getitem__(self, key: Any) -> Any:
    """Returns a modality by its name, or the examples at some rows."""
    if isinstance(key, str):
      return self.examples.features[key]
    # NumPy's users write `x[rows, ...]` too.
    if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
      key = key[0]
    rows = np.atleast_1d(np.arange(len(self))[key])
    return self.replace_examples(self.examples.take(rows), same_rows=False)


# What the public functions take.
ModalitiesLike = Mapping[str, Any] | Modalities


def to_splits(
  splits: Mapping[str, tuple[Modalities, np.ndarray]],
) -> dataset_lib.LoadedSplits:
  """Joins split name -> (modalities, targets); all are ordered as the first.

  Raises:
    InputError: if a split lacks a modality.
  """
  order = next(iter(splits.values()))[0].examples.modalities
  examples = {}
  for split, (modalities, target) in splits.items():
    one = select(modalities, order).examples
    files = {field: f"{split}, {field}" for field in one.files}
    files["target"] = f"labels of {split}"
    examples[split] = dataclasses.replace(one, target=target, files=files)
  return dataset_lib.LoadedSplits(examples)


def select(modalities: Modalities, names: Sequence[str]) -> Modalities:
  """Returns these modalities, in this order.

  Raises:
    InputError: if one is missing or there are others.
  """
  given = modalities.examples.modalities
  for name in names:
    if name not in given:
      raise errors.InputError(
        f"modality {name!r} is missing: there are {', '.join(given)}: give all"
        " of them; examples may lack it."
      )
  for name in given:
    if name not in names:
      raise errors.InputError(
        f"modality {name!r} is unknown: the model has {', '.join(names)}."
      )
  examples = modalities.examples.select(names)
  return modalities.replace_examples(examples, same_rows=True)


def convert(modalities: ModalitiesLike, **options: Any) -> Modalities:
  """Returns `Modalities`, made with the options if they are a mapping.

  Raises:
    InputError: if options are given for `Modalities`, or a value is wrong.
  """
  options = {k: v for k, v in options.items() if v is not None}
  if not isinstance(modalities, Modalities):
    return Modalities(modalities, **options)
  if options:
    raise errors.InputError(
      f"{min(options)}: give it to btw_jax.Modalities, which the modalities"
      " are."
    )
  return modalities


def _read_columns(values, options):
  """Returns modality -> column; options map a name to modality -> array."""
  if not isinstance(values, Mapping):
    raise errors.InputError(
      f"modalities: a {type(values).__name__}: give a mapping from the name of"
      " each modality to its array."
    )
  if not values:
    raise errors.InputError("modalities: none is given: give at least one.")
  for name, option in options.items():
    _check_option(name, option, values)
  columns = {}
  for name, value in values.items():
    given = {k: o[name] for k, o in options.items() if o and name in o}
    columns[str(name)] = arrays.Column(str(name), value, **given)
  first, *_ = columns
  for name, column in columns.items():
    if len(column) != len(columns[first]):
      raise errors.InputError(
        f"modality {name!r} has {len(column)} rows, but {first!r} has"
        f" {len(columns[first])}: give one row per example."
      )
  return columns


def _check_option(name, option, values):
  if option is None:
    return
  if not isinstance(option, Mapping):
    raise errors.InputError(
      f"{name}: a {type(option).__name__}: give a mapping from modalities to"
      " arrays."
    )
  for modality in option:
    if modality not in values:
      raise errors.InputError(
        f"{name}: no modality {modality!r}: use some of {', '.join(values)}."
      )


def _names(option, values, number):
  names = np.asarray(values).astype(str)
  if names.shape != (number,):
    raise errors.InputError(
      f"{option} have shape {names.shape} for {number} examples: give [N]."
    )
  return names


def convert_some(
  modalities: ModalitiesLike,
  shapes: Mapping[str, tuple[int, int]],
  options: Mapping[str, Any],
) -> Modalities:
  """Converts modalities, some of which may be None for all examples.

  `shapes` maps each modality of the models to its numbers of steps, 0 for a
  vector, and of features; the options are those of `convert`.

  Raises:
    InputError: if a value is wrong.
  """
  if not isinstance(modalities, Mapping):
    return convert(modalities, **options)
  known = {k: v for k, v in modalities.items() if not _is_none(v)}
  given = convert(known or modalities, **options)
  missing = [k for k in modalities if k not in known and k in shapes]
  absent = dataset_lib.complete(
    {
      name: np.zeros([len(given), *(n for n in shapes[name] if n)], np.float32)
      for name in missing
    },
    np.zeros(len(given)),
    present=dict.fromkeys(missing, np.zeros(len(given), bool)),
    name="modalities",
  )
  examples = given.examples
  changes = {
    field: {**getattr(examples, field), **getattr(absent, field)}
    for field in ("features", "present", "steps", "files")
  }
  examples = dataclasses.replace(examples, **changes)
  return given.replace_examples(examples, same_rows=True)


def _is_none(value):
  """Returns True for None, and for a list of None."""
  if isinstance(value, list | tuple):
    return all(v is None for v in value)
  return value is None


def check_index(modalities: Modalities, name: str, labels: Any) -> None:
  """Checks that labels with a pandas index have that of the modalities.

  Raises:
    InputError: naming the first row that differs.
  """
  index = _index(labels)
  if index is not None and modalities.index is not None:
    _check_same_index(name, index, modalities.index, "the modalities")


def _shared_index(values):
  """Returns the index `[N]` that all pandas tables have, or None."""
  shared, first = None, ""
  for name, value in values.items():
    index = _index(value)
    if index is None:
      continue
    if shared is None:
      shared, first = index, f"{name!r}"
    _check_same_index(f"modality {name!r}", index, shared, first)
  return shared


def _index(value):
  """Returns the index of a pandas table or series as strings, or None."""
  index = getattr(value, "index", None)
  if index is None or callable(index):
    return None
  return np.asarray(index).astype(str)


def _check_same_index(name, index, expected, reference):
  if len(index) == len(expected) and np.any(index != expected):
    row = np.argmax(index != expected)
    raise errors.InputError(
      f"{name}: the index of row {row} is {index[row]}, but {expected[row]} in"
      f" {reference}: give the same examples in the same order."
    )
