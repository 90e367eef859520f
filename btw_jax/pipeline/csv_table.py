"""A CSV table that grows while a run goes on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import csv
import io
import os
import pathlib
from typing import Any

import jax

from btw_jax.pipeline import files


class CsvTable:
  """A CSV file; every batch of rows is on disk when `write` returns."""

  def __init__(
    self,
    path: str | os.PathLike,
    columns: Sequence[str],
    *,
    go_on: bool = False,
  ):
    """Starts the file with its header.

    Args:
      path: of the file.
      columns: names of the columns.
      go_on: keep the rows that are there, if it has these columns.
    """
    self._path, self._columns = pathlib.Path(path), list(columns)
    self._replace(self._rows() if go_on else [])

  def retain(self, wanted: Callable[[Mapping[str, str]], bool]) -> None:
    """Keeps some of the rows, whole or not at all.

    Args:
      wanted: whether to keep a row.
    """
    self._replace(row for row in self._rows() if wanted(row))

  def _rows(self):
    """Rows that are whole: the last may have been cut off."""
    if jax.process_index() or not self._path.exists():
      return []
    with self._path.open(newline="", encoding="utf-8") as file:
      lines = file.read().splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))
    if reader.fieldnames != self._columns:
      return []
    return [row for row in reader if None not in row.values()]

  def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows.

    Args:
      rows: column -> value; a column left out stays empty.
    """
    if jax.process_index():
      return
    with (
      files.named(self._path),
      self._path.open("a", newline="", encoding="utf-8") as file,
    ):
      csv.DictWriter(file, self._columns).writerows(rows)

  def _replace(self, rows):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, self._columns)
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(self._path, text.getvalue())
