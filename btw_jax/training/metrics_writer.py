"""Tables that grow while a run goes on, and files written whole."""

from collections.abc import Mapping, Sequence
import csv
import json
import os
import pathlib
from typing import Any


class TableWriter:
  """A CSV file; every batch of rows is on disk when `write` returns."""

  def __init__(self, path: str | os.PathLike, columns: Sequence[str]):
    """Starts the file anew with its header.

    Args:
      path: of the file.
      columns: names of the columns.
    """
    self._columns = list(columns)
    self._file = pathlib.Path(path).open("w", newline="", encoding="utf-8")
    self._writer = csv.DictWriter(self._file, self._columns)
    self._writer.writeheader()
    self._file.flush()

  def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends rows.

    Args:
      rows: column -> value; a column left out stays empty.
    """
    self._writer.writerows(rows)
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes JSON, whole or not at all.

  Args:
    path: of the file.
    value: what to write.
  """
  write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes text, whole or not at all.

  Args:
    path: of the file.
    text: what to write.
  """
  path = pathlib.Path(path)
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text, encoding="utf-8")
  partial.replace(path)
