"""CSV text whose cells a spreadsheet shows and never computes."""

from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import re
from typing import Any

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = re.compile(r"[=+\-@\t\r]")


def write(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
  """Writes a header and rows, column -> value; missing columns stay empty."""
  text = io.StringIO(newline="")
  csv.writer(text).writerow(map(cell, columns))
  return text.getvalue() + write_rows(columns, rows)


def write_rows(
  columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> str:
  """Writes the rows alone."""
  text = io.StringIO(newline="")
  writer = csv.writer(text)
  for row in rows:
    unknown = set(row) - set(columns)
    if unknown:
      raise ValueError(f"row has the unknown columns {sorted(unknown)}.")
    writer.writerow(cell(row.get(column, "")) for column in columns)
  return text.getvalue()


def cell(value: Any) -> Any:
  """Returns a cell; a text that looks like a formula gets a quotation mark.

  Numbers stay, negative ones too.
  """
  if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value):
    return f"'{value}"
  return value


def _is_number(text):
  try:
    float(text)
  except ValueError:
    return False
  return True
