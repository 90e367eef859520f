"""The format of a text table: encoding, separator, header and decimal mark.

Each is found in the file by a rule that `btw_jax/data/README.md` states, unless
a flag gives it.
"""

import codecs
from collections.abc import Sequence
import csv as std_csv
import gzip
import itertools
import pathlib
import re
from typing import NamedTuple

import pyarrow
from pyarrow import csv

from btw_jax import errors

# The value of a flag that leaves the choice to the file.
AUTO = "auto"
# The cells that stand for a missing number, as pyarrow and pandas have them.
MISSING = frozenset((*csv.ConvertOptions().null_values, "None", "<NA>"))
# The characters that have a name in flags and in messages.
NAMES = {"\t": "tab", " ": "space"}
# A comma may stand inside numbers or words, and a space inside words: marks
# that stand nowhere else are tried first. `csv.Sniffer` takes the comma of
# "0,4;1,5" for the separator.
_SEPARATORS = ("\t", ";", "|", ",", " ")
_NUM_ROWS = 200
_MARKS = {
  codecs.BOM_UTF8: "utf-8-sig",
  codecs.BOM_UTF16_LE: "utf-16",
  codecs.BOM_UTF16_BE: "utf-16",
}
_NUMBER = re.compile(
  r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE
)
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
# The line by which Excel is told the separator; it may stand in quotes.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\r\n"])"?\s*', re.IGNORECASE)
_MAX_LINE = 16
# Fewer names that are whole numbers may be an example of small numbers.
_LEAST_RUN = 4


def find_encoding(path: pathlib.Path, encoding: str) -> str:
  """Returns the encoding that the first bytes mark, UTF-8 if there is none.

  An `encoding` other than "auto" is returned as it is.

  Raises:
    InputError: if the encoding is unknown.
  """
  if encoding != AUTO:
    try:
      codecs.lookup(encoding)
    except LookupError as error:
      raise errors.InputError(
        f"--encoding={encoding}: is unknown: use {AUTO}, utf-8, utf-16, cp1252"
        " or another name of Python's."
      ) from error
    return encoding
  with _opener(path)(path, "rb") as file:
    start = file.read(3)
  return next(
    (e for mark, e in _MARKS.items() if start.startswith(mark)), "utf-8"
  )


def find_separator(path: pathlib.Path, encoding: str, separator: str) -> str:
  """Returns the character that splits the first rows into equally many cells.

  A first line `sep=;` names it. A `separator` other than "auto" is returned;
  "tab" and "space" are names.

  Raises:
    InputError: if `separator` is not one character.
  """
  if separator != AUTO:
    characters = {name: character for character, name in NAMES.items()}
    character = characters.get(separator, separator)
    if len(character) != 1:
      raise errors.InputError(
        f"--separator={separator}: is not one character: use {AUTO}, a"
        " character, tab or space."
      )
    return character
  named = _named_separator(path, encoding)
  if named:
    return named
  for character in _SEPARATORS:
    rows = _read_start(path, encoding, character).rows
    if _has_row_names(rows, character):
      return character
    widths = set(map(len, rows))
    if len(widths) == 1 and widths != {1}:
      cells = itertools.chain(*rows[1:])
      if character != " " or all(is_value(cell) for cell in cells):
        return character
  return ","


def read_cells(
  path: pathlib.Path, encoding: str, separator: str
) -> pyarrow.Table:
  """Reads all rows of a file, a header too, as `[N, D]` strings.

  If the header has no name for the names of rows, it gets an empty cell.
  """
  start = _read_start(path, encoding, separator)
  first = next(iter(start.rows), [""])
  has_row_names = _has_row_names(start.rows, separator)
  width = len(first) + has_row_names
  strings = {f"f{i}": pyarrow.string() for i in range(width)}
  # pyarrow knows the mark of UTF-8 by itself.
  name = "utf8" if encoding.startswith("utf-8") else encoding
  cells = csv.read_csv(
    path,
    read_options=csv.ReadOptions(
      autogenerate_column_names=True,
      encoding=name,
      block_size=1 << 24,
      skip_rows=start.first_end if has_row_names else start.num_skipped,
    ),
    parse_options=csv.ParseOptions(
      delimiter=separator, newlines_in_values=True
    ),
    convert_options=csv.ConvertOptions(column_types=strings),
  )
  if not has_row_names:
    return cells
  header = dict(zip(strings, ([cell] for cell in ("", *first)), strict=True))
  return pyarrow.concat_tables([pyarrow.table(header, cells.schema), cells])


def sample(cells: pyarrow.Table, start: int) -> list[list[str]]:
  """Returns the first cells of each column, from row `start` on."""
  return [c.slice(start, _NUM_ROWS).to_pylist() for c in cells.columns]


def find_header(
  first: Sequence[str], below: Sequence[Sequence[str]]
) -> tuple[bool, str]:
  """Returns True if the first row is a header, and a note if that is unsure.

  Args:
    first: the D cells of the first row.
    below: the cells of each column below it.
  """
  words = [i for i, cell in enumerate(first) if not is_value(cell)]
  if not words:
    return _find_numeric_header(first, below)
  if any(any(map(_is_number, below[i])) for i in words):
    fractions = [
      float(cell.replace(",", "."))
      for cell in first
      if _is_number(cell) and not _WHOLE.fullmatch(cell.strip())
    ]
    if fractions and not (len(fractions) >= _LEAST_RUN and _ascends(fractions)):
      return False, (
        f"the first row has numbers and {first[words[0]]!r}: it is read as an"
        " example (see --header)"
      )
    return True, ""
  if any(first[i] in below[i] for i in words):
    return False, ""
  if len(words) + sum(not cell for cell in first) == len(first):
    return True, ""
  return _find_numeric_header(first, below)


def _find_numeric_header(first, below):
  """Finds a header of whole numbers, among which an index or label has words.

  An index may have no name at all.
  """
  places = [i for i, cell in enumerate(first) if _WHOLE.fullmatch(cell.strip())]
  others = [i for i in range(len(first)) if i not in places]
  if len(places) < 2 or any(first[i] and is_value(first[i]) for i in others):
    return False, ""
  if any(i and not first[i] for i in others):
    return False, ""
  names = [first[i].strip() for i in places]
  numbers = list(map(int, names))
  if numbers[0] < 0 or not _ascends(numbers):
    return False, ""
  columns = [[c.strip() for c in below[i]] for i in places]
  said = f"the first row, {_shorten(names)}, is read as"
  header = f"{said} a header (see --header)"
  # A column of fractions does not begin with a whole number.
  for column in columns:
    given = [cell for cell in column if cell not in MISSING]
    if given and not any(map(_WHOLE.fullmatch, given)):
      return True, header
  if not _counts(names):
    return False, ""
  if len(names) >= _LEAST_RUN and not any(
    map(_counts, zip(*columns, strict=True))
  ):
    return True, header
  return False, f"{said} an example (see --header)"


def find_decimal(columns: Sequence[Sequence[str]], decimal: str) -> str:
  """Returns "," if the numbers of a column have a decimal comma, else "."."""
  if decimal != AUTO:
    return decimal
  for column in columns:
    # Most columns have no comma, and need no closer look.
    if not any("," in cell for cell in column):
      continue
    given = [c.strip() for c in column if c.strip() not in MISSING]
    commas = [bool(_COMMA.fullmatch(cell)) for cell in given]
    whole = [bool(_WHOLE.fullmatch(cell)) for cell in given]
    if any(commas) and all(map(max, commas, whole)):
      return ","
  return "."


def is_value(cell: str) -> bool:
  """Returns True for a number and for a cell that says it is missing."""
  return cell.strip() in MISSING or _is_number(cell)


def _is_number(cell):
  return bool(_NUMBER.fullmatch(cell.strip()))


def _ascends(numbers):
  return all(a < b for a, b in itertools.pairwise(numbers))


def _counts(cells):
  """Returns True for the cells 0, 1, 2, ... or 1, 2, 3, ..."""
  if cells[0] not in ("0", "1"):
    return False
  start = int(cells[0])
  return list(cells) == [str(start + i) for i in range(len(cells))]


def _shorten(names):
  return ", ".join(names if len(names) < 5 else [*names[:2], "...", names[-1]])


def _opener(path):
  return gzip.open if path.suffix == ".gz" else open


class _Start(NamedTuple):
  """The first rows of a text table.

  Attributes:
    rows: those that are not empty; none if they cannot be split.
    num_skipped: the number of lines before them, which are no rows.
    first_end: the number of lines up to the end of the first row.
  """

  rows: list[list[str]]
  num_skipped: int
  first_end: int


def _read_start(path, encoding, separator) -> _Start:
  num_skipped = int(bool(_named_separator(path, encoding)))
  with _open_text(path, encoding) as lines:
    reader = std_csv.reader(
      itertools.islice(lines, num_skipped, None), delimiter=separator
    )
    rows, first_end = [], num_skipped
    try:
      for row in itertools.islice(filter(None, reader), 20):
        rows.append(row)
        if len(rows) == 1:
          first_end += reader.line_num
    except std_csv.Error:  # A cell is too long: the separator is another one.
      rows = []
  return _Start(rows, num_skipped, first_end)


def _has_row_names(rows, separator):
  """Returns True if each row has a cell more than the header of words.

  R's `write.table` writes the names of rows so, and a space between cells. The
  names are all different, and no fractions.
  """
  if len(rows) < 2:
    return False
  header, *others = rows
  if set(map(len, others)) != {len(header) + 1} or any(map(is_value, header)):
    return False
  names = [row[0].strip() for row in others]
  if len(set(names)) < len(names) or not all(
    _WHOLE.fullmatch(name) or not is_value(name) for name in names
  ):
    return False
  # Some programs end every line but the header with a separator.
  if not any(row[-1] for row in others):
    return False
  # A comma may split the numbers of the only column in two, and a space the
  # words of a row that commas separate.
  is_blank = separator in NAMES
  return len(header) > 1 or (is_blank and not set(header[0]) & {*",;|"})


def _named_separator(path, encoding):
  """Returns the separator that a first line `sep=;` names, or ""."""
  with _open_text(path, encoding) as lines:
    match = _SEPARATOR_LINE.fullmatch(lines.readline(_MAX_LINE))
  return match[1] if match else ""


def _open_text(path, encoding):
  # The mark of UTF-8 is no part of the text, even if a flag says "utf-8".
  is_marked = re.fullmatch("utf-?8", encoding, re.IGNORECASE)
  encoding = "utf-8-sig" if is_marked else encoding
  return _opener(path)(path, "rt", encoding=encoding, newline="")
