"""A CSV table that grows while a run goes on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import csv
import os
import pathlib
from typing import Any

import jax

from btw_jax import errors
from btw_jax.pipeline import files
from btw_jax.reports import csv_text


class CsvTable:
  """A CSV file; rows are on disk when `write` returns.

  Of several processes only the first one writes.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    columns: Sequence[str],
    *,
    resume: bool = False,
  ):
    """Writes the header.

    Args:
      path: of the file.
      columns: names of the columns.
      resume: whether to keep the rows of a file that has these columns.

    Raises:
      InputError: if such a file cannot be read.
    """
    self._path, self._columns = pathlib.Path(path), list(columns)
    self._replace(self._read_rows() if resume else [])

  def retain(
    self, keep: Callable[[Mapping[str, str]], bool]
  ) -> list[dict[str, str]]:
    """Removes the rows that `keep` rejects, and returns the others."""
    rows = [row for row in self._read_rows() if keep(row)]
    self._replace(rows)
    return rows

  def keep_epochs(
    self, num_epochs: int, where: Callable[[Mapping[str, str]], bool]
  ) -> int:
    """Removes the rows of later epochs among those that `where` selects.

    Returns:
      The number of epochs, of the first `num_epochs`, that the table lacks.

    Raises:
      InputError: if an epoch is no number.
    """
    rows = self.retain(
      lambda row: not where(row) or self._epoch(row) < num_epochs
    )
    return num_epochs - len({self._epoch(row) for row in rows if where(row)})

  def _epoch(self, row):
    try:
      return int(row["epoch"])
    except ValueError as error:
      raise errors.InputError(
        f"{self._path}: a row has the epoch {row['epoch']!r}: correct it, or"
        " move the file away."
      ) from error

  def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows, column -> value; missing columns stay empty."""
    if jax.process_index():
      return
    with (
      files.name_in_errors(self._path),
      self._path.open("a", newline="", encoding="utf-8") as file,
    ):
      file.write(csv_text.write_rows(self._columns, rows))

  def _read_rows(self):
    """Reads the complete rows: a stop may have cut off the last one."""
    if jax.process_index() or not self._path.exists():
      return []
    try:
      with self._path.open(newline="", encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
      raise errors.InputError(
        f"{self._path}: cannot be read ({error}): move it away; its rows are"
        " then missing."
      ) from error
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))
    if reader.fieldnames != self._columns:
      return []
    return [row for row in reader if None not in row.values()]

  def _replace(self, rows):
    files.write_text(self._path, csv_text.write(self._columns, rows))
