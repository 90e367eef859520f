"""Arrays, tables and tensors of any library, converted to NumPy arrays."""

from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data import columns
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import padding


class Column:
  """One modality of N examples, as `Modalities` takes it.

  Attributes:
    values: `[N, D]` or `[N, T, D]`.
    present: `[N]` bool.
    steps: of a sequence; None otherwise.
    names: of the features, if the table has them; else empty.
  """

  def __init__(
    self,
    name: str,
    value: Any,
    present: Any = None,
    lengths: Any = None,
    times: Any = None,
    observed: Any = None,
  ):
    """Converts and checks a modality; the options are those of `Modalities`."""
    self._name = name
    self.steps, own_lengths = None, None
    if _is_pandas(value):
      _check_kinds(name, value if value.ndim == 2 else value.to_frame())
    self.names = _column_names(value)
    self.values, self.present = _to_array(name, value)
    if self.values.dtype == object:
      self.values, own_lengths = _pad(name, self.values, self.present)
    if self.values.ndim == 1:
      self.values = self.values[:, None]
    self._check_range()
    if self.values.ndim not in (2, 3):
      raise errors.InputError(
        f"modality {name!r} has shape {self.values.shape}: give [N, D], or"
        " [N, T, D] for a sequence."
      )
    if present is not None:
      mask = np.asarray(present)
      self._check_shape("present", mask, (len(self),))
      self.present = self.present & mask.astype(bool)
    if self.values.ndim == 3:
      lengths = own_lengths if lengths is None else lengths
      self._set_steps(lengths, times, observed)
    elif lengths is not None or times is not None or observed is not None:
      raise errors.InputError(
        f"modality {name!r} has lengths, times or a mask of values, but is no"
        f" sequence (shape {self.values.shape}): give [N, T, D]."
      )

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self.values)

  def _check_range(self):
    """Refuses numbers that are infinite as float32 only."""
    large = np.isfinite(self.values)
    large &= np.abs(self.values) > np.finfo(np.float32).max
    if large.any():
      row = np.argwhere(large)[0][0]
      raise errors.InputError(
        f"modality {self._name!r}, row {row}: {self.values[large][0]:g} is too"
        " large for float32: scale the modality."
      )

  def _set_steps(self, lengths, times, observed):
    num_steps = self.values.shape[1]
    if lengths is None:
      lengths = np.full(len(self), num_steps)
    lengths = np.asarray(lengths)
    self._check_shape("lengths", lengths, (len(self),))
    wrong = ((lengths < 1) | (lengths > num_steps)) & self.present
    if wrong.any():
      row = np.argmax(wrong)
      raise errors.InputError(
        f"lengths of modality {self._name!r}: row {row} is {lengths[row]}: give"
        f" 1 to {num_steps}, or mark the row as missing."
      )
    lengths = np.clip(lengths, 1, num_steps).astype(int)
    if times is not None:
      times = np.asarray(times, np.float64)
      self._check_shape("times", times, self.values.shape[:2])
    if observed is not None:
      observed = np.asarray(observed).astype(bool)
      self._check_shape("observed", observed, self.values.shape)
    self.steps = dataset_lib.Steps(lengths, times, observed)

  def _check_shape(self, option, array, shape):
    if array.shape != shape:
      raise errors.InputError(
        f"{option} of modality {self._name!r} has shape {array.shape}: give"
        f" {shape}."
      )


def read_labels(name: str, labels: Any, number: int) -> np.ndarray:
  """Converts targets: `[N]` classes (numbers or names) or values, `[N, C]` 0/1.

  `name` is that of the targets, for messages.

  Raises:
    InputError: if there are not `number` targets, or one is missing.
  """
  if labels is None:
    raise errors.InputError(f"{name} are missing: give one per example.")
  target = np.asarray(to_host(labels))
  if target.ndim == 2 and target.shape[1] == 1:
    target = target[:, 0]
  if target.ndim not in (1, 2) or len(target) != number:
    raise errors.InputError(
      f"{name} have shape {target.shape} for {number} examples: give [N], or"
      " [N, labels] for several labels."
    )
  if target.dtype == object:
    for row, value in enumerate(target):
      if any(_is_missing(v) for v in np.atleast_1d(value)):
        raise errors.InputError(
          f"{name}: row {row} is {value}: give every label, or leave the row"
          " out."
        )
    target = np.array(target.tolist())
  return target


def _to_array(name, value):
  """Converts a modality to numbers, or an object array `[N]` of sequences.

  Returns the array and `[N]` bool, False where the value is None.
  """
  value = to_host(value)
  if isinstance(value, list | tuple):
    rows = value
  elif np.ndim(value) == 1 and np.asarray(value).dtype == object:
    rows = list(value)
  else:
    array = _to_numbers(name, value)
    return array, np.ones(len(array), bool)
  present = np.array([row is not None for row in rows], bool)
  if not present.any():
    raise errors.InputError(
      f"modality {name!r} has no example: leave the modality out."
    )
  arrays = [
    _to_numbers(name, to_host(row), scalar=True)
    for row in rows
    if row is not None
  ]
  if len({a.shape for a in arrays}) == 1:
    dtype = np.result_type(*{a.dtype for a in arrays})
    array = np.zeros((len(rows), *arrays[0].shape), dtype)
    array[present] = arrays
    return array, present
  array = np.empty(len(rows), object)
  for row, one in zip(np.flatnonzero(present), arrays, strict=True):
    array[row] = one
  return array, present


def _check_kinds(name, frame):
  """Refuses columns of a pandas table that hold times or words."""
  for place, (column, dtype) in enumerate(frame.dtypes.items()):
    kind = getattr(dtype, "kind", "O")
    if kind in ("M", "m"):
      raise errors.InputError(
        f"modality {name!r}: column {column!r} holds times: turn them into"
        " numbers of the unit that you want."
      )
    for row, cell in enumerate(frame.iloc[:, place] if kind == "O" else ()):
      if isinstance(cell, str) and not _is_float(cell):
        raise errors.InputError(
          f"modality {name!r}: row {row}, column {column!r} is {cell!r}: give"
          " numbers."
        )


def _column_names(value):
  """Returns the names of the columns of a table, or none."""
  if hasattr(value, "column_names"):  # a table of pyarrow
    return columns.unique(value.column_names)
  if not _is_pandas(value) or value.ndim == 1:
    return ()
  # Without names, pandas numbers the columns.
  are_numbers = list(value.columns) == list(range(value.shape[1]))
  return () if are_numbers else columns.unique(value.columns)


def _is_pandas(value):
  return hasattr(value, "iloc")


def _pad(name, arrays, present):
  """Pads an object array of sequences `[t, D]` to `[N, T, D]`, with lengths."""
  shapes = {np.shape(a)[1:] for a, p in zip(arrays, present, strict=True) if p}
  if len(shapes) != 1 or len(next(iter(shapes))) != 1:
    raise errors.InputError(
      f"modality {name!r} has rows of different shapes: give [D] for all, or"
      " sequences [t, D] with the same D."
    )
  (width,) = next(iter(shapes))
  empty = np.zeros((0, width))
  return padding.pad(
    [a if p else empty for a, p in zip(arrays, present, strict=True)], width
  )


def to_host(value: Any) -> Any:
  """Returns what NumPy can convert: no device, no gradient, nothing sparse."""
  if hasattr(value, "detach"):  # a tensor of torch
    value = value.detach().cpu()
    # NumPy has no such type.
    if "bfloat16" in str(getattr(value, "dtype", "")):
      value = value.float()
  if hasattr(value, "toarray"):  # a sparse matrix of SciPy
    value = value.toarray()
  if hasattr(value, "column_names"):  # a table of pyarrow
    value = np.stack([np.asarray(column) for column in value.columns], axis=1)
  if _is_pandas(value) and np.asarray(value).dtype == object:
    # A table of pandas whose missing values are no floats.
    try:
      value = value.convert_dtypes().to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
      value = np.asarray(value)
  return value


def _to_numbers(name, value, *, scalar=False):
  """Converts values to an array of real numbers; `scalar` allows one number."""
  try:
    array = np.asarray(value)
    if array.dtype == object:
      array = array.astype(np.float64)
  except (TypeError, ValueError) as error:
    reason = str(error).rstrip(".")
    raise errors.InputError(
      f"modality {name!r} cannot be read as numbers ({reason}): give numbers."
    ) from error
  is_real = np.issubdtype(array.dtype, np.number) or array.dtype == bool
  if not is_real or np.iscomplexobj(array) or not (array.ndim or scalar):
    raise errors.InputError(
      f"modality {name!r} holds {array.dtype} values of shape {array.shape}:"
      " give real numbers, a row per example."
    )
  return array


def _is_float(text):
  try:
    float(text)
  except ValueError:
    return False
  return True


def _is_missing(value):
  """Returns True for None, and for what is not equal to itself, as NaN."""
  try:
    return value is None or bool(value != value)
  except TypeError:  # pandas does not compare missing values.
    return True
