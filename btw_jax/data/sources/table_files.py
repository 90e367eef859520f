"""The reading of one table, CSV or Parquet: its columns by what they hold."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import pathlib
import re
from typing import NamedTuple
import zlib

import numpy as np
import pyarrow
from pyarrow import parquet

from btw_jax import errors
from btw_jax.data import limits
from btw_jax.data.sources import table_text
from btw_jax.data.sources import table_values

# Names that pandas gives to an index that has none.
_NO_NAME = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
_RESET_NAMES = ("index", "level_0")
# Fewer numbers in order may be there by chance.
_LEAST_ROWS = 5
# The most characters of a cell that a message shows.
_MAX_SHOWN = 60


class Rules(NamedTuple):
  """The flags that say how tables are read.

  Attributes:
    label: the name of the column of labels; the last column of every table if
      empty.
    id: the name of the column of ids.
    subject: the name of the column of subjects.
    index: a name of `catalog.INDEX`: whether the first column is an index,
      which is neither a feature nor a label.
    header: a name of `catalog.HEADER`: whether a text table has a header.
    separator: "auto", or the character between the cells of a text table.
    decimal: "auto", or the decimal mark of text tables.
    encoding: "auto", or the encoding of text tables.
  """

  label: str = ""
  id: str = "id"
  subject: str = "subject"
  index: str = table_text.AUTO
  header: str = table_text.AUTO
  separator: str = table_text.AUTO
  decimal: str = table_text.AUTO
  encoding: str = table_text.AUTO


@dataclasses.dataclass(frozen=True)
class Table:
  """The content of a file.

  Attributes:
    path: the file.
    values: column -> `[N]` numbers, words or truth values, or `[N, D]` numbers.
    names: "id", "subject", "index" -> `[N]` strings, for those that it has.
    has_header: whether the columns have names of their own.
    notes: what the reader decided that may surprise.
  """

  path: pathlib.Path
  values: dict[str, np.ndarray]
  names: dict[str, np.ndarray]
  has_header: bool
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    """Returns the number of rows."""
    return len(next(iter(self.values.values())))

  def check_has_columns(self) -> None:
    """Raises `InputError` if no column is left."""
    if not self.values:
      raise errors.InputError(
        f"{self.path}: has 1 column: give features, then the label; set"
        " --separator if it has more."
      )

  def features(self) -> np.ndarray:
    """Returns all columns as `[N, D]` numbers."""
    for name, column in self.values.items():
      if column.dtype.kind not in "fib":
        row = table_values.find_word(column)
        raise errors.InputError(
          f"{self.path}: row {row}, column {name!r} is"
          f" {str(column[row])[:_MAX_SHOWN]!r}: give numbers, and the label"
          " last or in --label."
        )
      table_values.check_precision(self.path, name, column)
    return np.column_stack(
      [column.astype(np.float64) for column in self.values.values()]
    )

  def feature_names(self) -> tuple[str, ...]:
    """Returns the names of the D features; none without a header."""
    if not self.has_header:
      return ()
    names = []
    for name, column in self.values.items():
      width = column.shape[1] if column.ndim == 2 else 0
      names += [f"{name}[{i}]" for i in range(width)] if width else [name]
    return tuple(names)


class _Cells(NamedTuple):
  """The columns of a file as they are stored.

  Attributes:
    names: of the columns.
    columns: `[N]` each.
    index: the names of the columns that the file says are an index.
    has_header: whether the columns have names of their own.
    decimal: the decimal mark of columns of text.
    notes: what the reader decided.
  """

  names: list[str]
  columns: list[pyarrow.ChunkedArray]
  index: Sequence[str]
  has_header: bool
  decimal: str
  notes: list[str]


def read(path: pathlib.Path, rules: Rules) -> Table:
  """Reads a table.

  Raises:
    InputError: if the file is unreadable, or has no columns but names.
  """
  limits.check_regular(path)
  with _named_errors(path):
    cells = (_read_parquet if path.suffix == ".parquet" else _read_text)(
      path, rules
    )
  notes = list(cells.notes)
  columns = dict(
    zip(_tell_apart(cells.names, notes), cells.columns, strict=True)
  )
  names = {}
  for field, name in (("id", rules.id), ("subject", rules.subject)):
    if name in columns and name != rules.label:
      names[field] = table_values.texts(columns.pop(name))
  _take_index(columns, names, cells, rules, notes)
  if not columns:
    raise errors.InputError(
      f"{path}: has no column of numbers: give features, then the label."
    )
  values = {
    name: table_values.read(path, name, column, cells.decimal)
    for name, column in columns.items()
  }
  return Table(path, values, names, cells.has_header, tuple(notes))


def read_lines(path: pathlib.Path) -> list[str]:
  """Reads a file of words that has one in each line.

  Raises:
    InputError: if the file is unreadable, or a line has several words.
  """
  with _named_errors(path):
    encoding = table_text.find_encoding(path, table_text.AUTO)
    cells = table_text.read_cells(path, encoding, "\t")
  if cells.num_columns > 1:
    raise errors.InputError(
      f"{path}: has {cells.num_columns} columns: give one word in each line."
    )
  return cells.columns[0].to_pylist()


@contextlib.contextmanager
def _named_errors(path) -> Iterator[None]:
  """Turns the errors of a damaged file into one line each."""
  try:
    yield
  except UnicodeError as error:
    raise errors.InputError(
      f"{path}: is not text in {error.encoding} (byte {error.start}): set"
      " --encoding, to cp1252 for instance."
    ) from error
  except (OSError, EOFError, zlib.error, pyarrow.ArrowException) as error:
    reason = " ".join(str(error).split()).rstrip(".")[:160]
    raise errors.InputError(
      f"{path}: cannot be read as a table ({reason}): give rows of numbers, the"
      " label last."
    ) from error


def _read_parquet(path, rules):
  del rules  # A Parquet file says all that they say of text.
  metadata = parquet.read_metadata(path)
  limits.check_parquet(path, metadata)
  # A word that many rows have is stored once: it is repeated below, when the
  # size of that is known.
  words = [
    f.name for f in parquet.read_schema(path) if table_values.is_text(f.type)
  ]
  table = parquet.read_table(path, read_dictionary=words)
  limits.check(path, sum(map(table_values.text_bytes, table.columns)))
  try:
    about = table.schema.pandas_metadata or {}
  except ValueError as error:  # Damaged JSON or text.
    raise errors.InputError(
      f"{path}: the metadata of pandas is damaged ({error}): write it again."
    ) from error
  # The index 0 to N − 1 is described, not stored.
  index = [
    name
    for name in about.get("index_columns", [])
    if name in table.column_names
  ]
  columns = [table_values.without_dictionary(c) for c in table.columns]
  return _Cells(table.column_names, columns, index, True, ".", [])


def _read_text(path, rules):
  if path.suffix == ".gz":
    limits.check_gzip(path)
  encoding = table_text.find_encoding(path, rules.encoding)
  separator = table_text.find_separator(path, encoding, rules.separator)
  table, notes = table_text.read_cells(path, encoding, separator), []
  first = [column[0].as_py() for column in table.columns]
  has_header, note = table_text.find_header(first, table_text.sample(table, 1))
  if rules.header != table_text.AUTO:
    has_header, note = rules.header == "yes", ""
  notes += [note] if note else []
  names = first if has_header else table.column_names
  columns = table.slice(int(has_header)).columns
  # Some programs end every line with a separator.
  while (
    len(columns) > 1
    and not (has_header and names[-1])
    and (not any(columns[-1].to_pylist()))
  ):
    names, columns = names[:-1], columns[:-1]
    notes.append("the last column is empty and is left out")
  sample = [c.slice(0, 1000).to_pylist() for c in columns]
  decimal = table_text.find_decimal(sample, rules.decimal)
  if separator != ",":
    shown = table_text.NAMES.get(separator, separator)
    notes.append(f"the separator is {shown} (see --separator)")
  if decimal != ".":
    notes.append("numbers have a decimal comma (see --decimal)")
  if encoding.startswith("utf-16"):
    notes.append(f"the encoding is {encoding} (see --encoding)")
  return _Cells(names, columns, (), has_header, decimal, notes)


def _tell_apart(names, notes):
  """Appends ".1", ".2", ... to names that repeat, as pandas does."""
  unique, repeated = [], []
  for name in names:
    other, number = name, 0
    while other in unique or (number and other in names):
      number += 1
      other = f"{name}.{number}"
    unique.append(other)
    repeated += [name] if number else []
  for name in dict.fromkeys(repeated):
    notes.append(
      f"{names.count(name)} columns are called {name!r}: they are told apart by"
      " their order"
    )
  return unique


def _take_index(columns, names, cells, rules, notes):
  """Moves the index from the columns to the names, or leaves it out."""
  if rules.index == "none" or not columns:
    return
  # Without a name, the label is the last column.
  label = rules.label or list(columns)[-1]
  index = [n for n in cells.index if n in columns and n != rules.label]
  first, *others = columns
  if not index and others and first != label:
    if rules.index == "first":
      index = [first]
    else:
      index = _find_index(columns, cells.has_header, notes)
  for name in index:
    texts = table_values.texts(columns.pop(name))
    shown = (
      f"the column {name!r}" if name else "the first column, without name,"
    )
    is_named = cells.has_header and not _NO_NAME.fullmatch(name)
    is_named &= name not in _RESET_NAMES
    is_id = is_named and len(index) == 1 and "id" not in names
    is_id &= len(set(texts)) == len(texts)
    if is_id and not _counts_up(texts):
      names["id"] = texts
      notes.append(f"{shown} names the rows: it is read as the id (see --id)")
    else:
      names.setdefault("index", texts)
      notes.append(f"{shown} is an index and is left out (see --index)")


def _find_index(columns, has_header, notes):
  """Returns the names of the leading columns that are an index."""
  first, *others = columns
  if has_header:
    # Without a name are all levels of an index that has several.
    nameless = []
    for name in (first, *others[:-1]):
      if not _NO_NAME.fullmatch(name.partition(".")[0]):
        break
      nameless.append(name)
    if nameless:
      return nameless
  kind = columns[first].type
  if not (pyarrow.types.is_integer(kind) or table_values.is_text(kind)):
    return []
  texts = table_values.texts(columns[first])
  whole = [bool(re.fullmatch(r"\d+(\.0)?", text)) for text in texts]
  is_unique = len(set(texts)) == len(texts)
  if texts.size and all(whole):
    if _counts_up(texts) or (is_unique and first in _RESET_NAMES):
      return [first]
    if is_unique and len(texts) >= _LEAST_ROWS:
      notes.append(
        f"the column {first!r} is read as a feature, but its whole numbers are"
        f" all different: if they name the rows, set --id={first} or"
        " --index=first"
      )
  elif is_unique and not any(map(table_text.is_value, texts)):
    return [first] if len(others) > 1 else []
  return []


def _counts_up(texts):
  """Returns True for whole numbers, each one more than the last."""
  if len(texts) < _LEAST_ROWS or not all(t.isdigit() for t in texts):
    return False
  numbers = list(map(int, texts))
  return numbers == list(range(numbers[0], numbers[0] + len(numbers)))
