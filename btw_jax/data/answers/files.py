"""JSON, JSON lines and tables, read with one-line errors."""

from collections.abc import Iterator
import csv as std_csv
import gzip
import json
import pathlib
from typing import Any
import zipfile
import zlib

import pyarrow
from pyarrow import csv
from pyarrow import parquet
import python_calamine

from btw_jax import errors
from btw_jax.data import limits

# Tables of pictures hold cells of several megabytes.
_BLOCK = 1 << 26
# Of the start of a file, to recognise it.
_START = 1 << 16


def check_exists(path: str) -> pathlib.Path:
  """Returns a path; raises `InputError` if there is no such file or folder."""
  place = pathlib.Path(path)
  if not place.exists():
    raise errors.InputError(f"{path}: no such file: give the path of answers.")
  return place


def kind_of(path: str | pathlib.Path) -> str:
  """Returns "json", "arrays", "xlsx", "parquet", "tsv" or "csv" by content."""
  if pathlib.Path(path).is_dir():
    return "arrays"
  start = _start(path)
  if not start:
    raise errors.InputError(f"{path}: is empty: give a file with answers.")
  if start.startswith(b"PK"):
    return "xlsx" if b"xl/" in _zip_names(path) else "arrays"
  if start.startswith(b"\x93NUMPY"):
    return "arrays"
  if start.startswith(b"PAR1"):
    return "parquet"
  if start[:1] in (b"[", b"{"):
    return "json"
  return "tsv" if b"\t" in start.partition(b"\n")[0] else "csv"


def read_lines(path: str) -> Iterator[tuple[int, Any]]:
  """Yields the number, from 1, and the content of each line of JSON.

  Empty lines are left out. The file may be compressed by gzip.

  Raises:
    InputError: naming the first line that is not JSON or is cut.
  """
  number = 0
  try:
    with _open(path) as lines:
      for number, line in enumerate(lines, 1):
        if line.strip():
          yield number, _parse_line(path, number, line)
  except (EOFError, zlib.error) as error:
    raise errors.InputError(
      f"{path}: line {number + 1} is cut: the compressed file is not complete:"
      " copy it again."
    ) from error
  except OSError as error:
    raise errors.InputError(
      f"{path}: cannot be read ({error.strerror or error}): check the file."
    ) from error


def _parse_line(path, number, line):
  try:
    return json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
  except ValueError as error:
    if not line.endswith(b"\n"):
      raise errors.InputError(
        f"{path}: line {number} is cut: the program that wrote it did not end:"
        " copy the file again, or delete the line."
      ) from error
    raise errors.InputError(
      f"{path}: line {number} is not JSON: give one JSON object per line."
    ) from error


def read_json(path: str) -> Any:
  """Returns the content of a JSON file, which may be compressed by gzip.

  Raises:
    InputError: if the file is not JSON.
  """
  try:
    with _open(path) as file:
      return json.loads(file.read().decode("utf-8-sig"))
  except (ValueError, EOFError, zlib.error, OSError) as error:
    line = getattr(error, "lineno", None)
    place = f"line {line}: " if line else ""
    raise errors.InputError(
      f"{path}: {place}the file is not JSON or is cut: copy it again."
    ) from error


def read_records(path: str) -> Iterator[tuple[str, Any]]:
  """Yields place and content of each line, or of each item of a JSON list."""
  start = _start(path)
  first_line = start.partition(b"\n")[0].strip()
  if first_line == b"{":
    # An object over several lines.
    yield "record 1", read_json(path)
  elif start[:1] == b"[":
    for number, record in enumerate(read_json(path), 1):
      yield f"record {number}", record
  else:
    for number, record in read_lines(path):
      yield f"line {number}", record


def read_table(path: str) -> dict[str, list[Any]]:
  """Returns column -> values of a CSV, TSV, Parquet or Excel file.

  Cells of CSV and TSV are texts; an empty cell is None. Rows are counted as in
  a spreadsheet: the header is row 1.

  Raises:
    InputError: if the file is not such a table.
  """
  kind = kind_of(path)
  try:
    if kind == "xlsx":
      return _read_xlsx(path)
    if kind == "parquet":
      limits.check_parquet(path, parquet.read_metadata(path))
      table = parquet.read_table(path)
    else:
      table = _read_csv(path, "\t" if kind == "tsv" else ",")
  except (
    OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile,
    pyarrow.ArrowException, python_calamine.CalamineError,
  ) as error:  # fmt: skip
    reason = " ".join(str(error).split()).rstrip(".")[:200]
    raise errors.InputError(
      f"{path}: cannot be read as a table ({reason}): give CSV, TSV, Parquet or"
      " xlsx."
    ) from error
  return {
    name: table.column(place).to_pylist()
    for place, name in enumerate(table.column_names)
  }


def read_columns(path: str) -> list[str]:
  """Returns the names of the columns of a table."""
  kind = kind_of(path)
  if kind in ("csv", "tsv"):
    return _header(path, "\t" if kind == "tsv" else ",")
  return list(read_table(path))


def _read_csv(path, delimiter):
  if _is_packed(path):
    limits.check_gzip(path)
  names = _header(path, delimiter)
  with _open(path) as file:
    # Not a file of Python: Arrow's threads may still read it when the program
    # ends, and would abort it then.
    return csv.read_csv(
      pyarrow.BufferReader(file.read()),
      csv.ReadOptions(block_size=_BLOCK),
      csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
      # Answers such as "No" or "1.0" stay the texts that they are.
      csv.ConvertOptions(
        column_types=dict.fromkeys(names, pyarrow.string()),
        null_values=[""], strings_can_be_null=True,
      ),
    )  # fmt: skip


def _header(path, delimiter):
  try:
    with _open(path) as file:
      line = file.readline().decode("utf-8-sig")
  except (OSError, EOFError, UnicodeDecodeError) as error:
    raise errors.InputError(
      f"{path}: cannot be read as a table: give a text file in UTF-8."
    ) from error
  return next(std_csv.reader([line], delimiter=delimiter), [])


def _read_xlsx(path):
  sheet = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0)
  header, *rows = sheet.to_python() or [[]]
  return {
    str(name): [_cell(row[place]) for row in rows]
    for place, name in enumerate(header)
    if name != ""
  }


def _cell(value):
  """Returns a cell of a spreadsheet, where all numbers are floats."""
  if isinstance(value, float) and value.is_integer():
    return int(value)
  return None if value == "" else value


def _open(path):
  """Opens a file of bytes, and unpacks it if it begins as gzip does."""
  return gzip.open(path, "rb") if _is_packed(path) else open(path, "rb")


def _is_packed(path):
  with open(path, "rb") as file:
    return file.read(2) == b"\x1f\x8b"


def _start(path):
  """Returns the start of a file, without spaces and the mark of UTF-8."""
  try:
    with _open(path) as file:
      start = file.read(_START)
  except (EOFError, zlib.error, OSError) as error:
    raise errors.InputError(
      f"{path}: cannot be read, or is cut: check the file, or copy it again."
    ) from error
  return start.removeprefix(b"\xef\xbb\xbf").lstrip()


def _zip_names(path):
  """Returns the names of the files in an archive, as one text of bytes."""
  try:
    with zipfile.ZipFile(path) as archive:
      return "\n".join(archive.namelist()).encode()
  except (zipfile.BadZipFile, OSError):
    return b""
