"""The values of the columns of tables: numbers, truth values or words."""

import pathlib

import numpy as np
import pyarrow
from pyarrow import compute

from btw_jax import errors
from btw_jax.data.sources import table_text

# Whole numbers beyond this have no float64 of their own.
_MAX_WHOLE = 2**53


def is_text(kind: pyarrow.DataType) -> bool:
  """Returns True for the type of a column of strings."""
  return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def text_bytes(column: pyarrow.ChunkedArray) -> int:
  """Returns the bytes that the words of a dictionary take, one per row.

  It is 0 for other columns.
  """
  kind = column.type
  if not (pyarrow.types.is_dictionary(kind) and is_text(kind.value_type)):
    return 0
  total = 0
  for chunk in column.chunks:
    lengths = compute.binary_length(chunk.dictionary)
    lengths = lengths.cast(pyarrow.int64()).take(chunk.indices)
    total += compute.sum(lengths, min_count=0).as_py()
  return total


def without_dictionary(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
  """Returns a column whose rows hold their values, not numbers of words."""
  kind = column.type
  is_dictionary = pyarrow.types.is_dictionary(kind)
  return column.cast(kind.value_type) if is_dictionary else column


def texts(column: pyarrow.ChunkedArray) -> np.ndarray:
  """Returns a column as `[N]` strings."""
  return np.array(column.to_pylist()).astype(str)


def read(
  path: pathlib.Path, name: str, column: pyarrow.ChunkedArray, decimal: str
) -> np.ndarray:
  """Returns a column as numbers, where an empty cell is NaN, or as it is.

  Truth values and words stay: they may be labels. A column of lists becomes
  `[N, D]`. `decimal` is the decimal mark of strings; the path and the name are
  for messages.
  """
  kind = column.type
  if is_text(kind):
    return _read_strings(column, decimal)
  if pyarrow.types.is_boolean(kind) and not column.null_count:
    return column.to_numpy()
  if pyarrow.types.is_integer(kind) and not column.null_count:
    return column.to_numpy()
  if isinstance(kind, pyarrow.BaseExtensionType):
    column, kind = column.cast(kind.storage_type), kind.storage_type
  if isinstance(
    kind, pyarrow.ListType | pyarrow.LargeListType | pyarrow.FixedSizeListType
  ):
    return _read_lists(path, name, column)
  try:
    return column.cast(pyarrow.float64(), safe=False).to_numpy()
  except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
    values = column.to_pylist()
    return np.array(["" if v is None else str(v) for v in values])


def find_word(column: np.ndarray) -> int:
  """Returns the row of the first cell of words that is no number."""
  for row, cell in enumerate(column):
    text = str(cell).strip()
    try:
      float("nan" if text in table_text.MISSING else text)
    except ValueError:
      return row
  # A cell of characters that NumPy drops, such as "\0".
  return int(np.argmax(column == ""))


def _read_strings(column, decimal):
  """Returns a column of strings as numbers, truth values or words."""
  if decimal == ".":
    # Most columns are plain numbers, and none of their cells is missing.
    values = _to_numbers(column)
    if values is not None:
      return values
  trimmed = compute.utf8_trim_whitespace(column)
  missing = pyarrow.array(table_text.MISSING, trimmed.type)
  numbers = compute.if_else(
    compute.is_in(trimmed, value_set=missing), None, trimmed
  )
  if decimal == ",":
    # A point is no decimal mark then: "1.234" must not become a number.
    numbers = compute.replace_substring(numbers, ".", "?")
    numbers = compute.replace_substring(numbers, ",", ".")
  values = _to_numbers(numbers)
  if values is not None:
    return values
  words = np.array(["" if v is None else v for v in column.to_pylist()])
  lower = np.char.lower(np.char.strip(words))
  return lower == "true" if np.isin(lower, ("true", "false")).all() else words


def _to_numbers(column):
  """Returns a column of strings as numbers; None if some are no numbers."""
  for kind in (pyarrow.int64(), pyarrow.float64()):
    try:
      return column.cast(kind).to_numpy()
    except pyarrow.ArrowInvalid:
      pass
  return None


def _read_lists(path, name, column):
  """Returns a column of lists as `[N, D]` numbers, NaN where there is none."""
  lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
  given = np.flatnonzero(np.isfinite(lengths.astype(np.float64)))
  widths = lengths[given]
  if not len(given):
    return np.full(len(column), np.nan)
  if np.any(widths != widths[0]):
    row = given[np.argmax(widths != widths[0])]
    raise errors.InputError(
      f"{path}: row {row}, column {name!r} is a list of {lengths[row]:.0f}, but"
      f" that of row {given[0]} has {widths[0]:.0f}: give lists of one length."
    )
  values = np.full((len(column), int(widths[0])), np.nan)
  try:
    flat = compute.list_flatten(column).cast(pyarrow.float64(), safe=False)
  except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
    raise errors.InputError(
      f"{path}: column {name!r} holds lists of {column.type.value_type}: give"
      " lists of numbers, one per row."
    ) from error
  values[given] = flat.to_numpy().reshape(len(given), -1)
  return values


def check_precision(path: pathlib.Path, name: str, column: np.ndarray) -> None:
  """Raises `InputError` if numbers that differ are the same in float64."""
  if column.dtype.kind != "i" or not len(column):
    return
  if max(abs(int(column.min())), abs(int(column.max()))) <= _MAX_WHOLE:
    return
  if len(np.unique(column)) > len(np.unique(column.astype(np.float64))):
    raise errors.InputError(
      f"{path}: column {name!r} has numbers beyond 2^53 that float64 cannot"
      f" tell apart, such as {column[0]}: subtract one offset in all splits."
    )
