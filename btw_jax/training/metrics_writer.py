"""Tables that grow while a run goes on, and files written whole."""

from collections.abc import Iterable, Mapping, Sequence
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
    self._path, self._columns = pathlib.Path(path), list(columns)
    self._append("w", lambda writer: writer.writeheader())

  def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows.

    Args:
      rows: column -> value; a column left out stays empty.
    """
    self._append("a", lambda writer: writer.writerows(rows))

  def _append(self, mode, write):
    with self._path.open(mode, newline="", encoding="utf-8") as file:
      write(csv.DictWriter(file, self._columns))


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
