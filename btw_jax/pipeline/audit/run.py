"""An audit from the files that it reads to the folder that it leaves."""

from collections.abc import Mapping
import dataclasses
import datetime
import os
import pathlib

from absl import logging
import jax
import numpy as np
import pyarrow
from pyarrow import csv

import btw_jax
from btw_jax import errors
from btw_jax.data.answers import catalog
from btw_jax.data.answers import conditions
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from btw_jax.pipeline.audit import measure as measure_lib
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.reports import csv_text
from btw_jax.reports.audit import page as audit_page
from btw_jax.reports.audit import tables as audit_tables

# Tables with a row for each question; the input decides which ones there are.
_BY_QUESTION = ("weights.csv", "training_weights.csv", "interactions_*.csv")
RESULTS, TABLES, PAGE = "audit.json", "audit.md", "audit.html"


def read(
  inputs: Mapping[str, str], options: options_lib.Options
) -> conditions.Answers:
  """Reads and joins the answers of all files, condition -> path."""
  logging.info("reading %s", ", ".join(inputs.values()))
  return catalog.read(inputs, options.reading)


def run(
  answers: conditions.Answers, options: options_lib.Options
) -> measure_lib.Measured:
  """Measures all that answers allow, and adds versions and the date.

  What was decided while reading stands in the log.
  """
  for note in answers.notes:
    logging.warning("%s", note)
  measured = measure_lib.measure(answers, options)
  measured.tables = {
    name: {"id": answers.ids, **columns}
    for name, columns in measured.tables.items()
  }
  measured.content["options"] = dataclasses.asdict(options)
  measured.content["versions"] = {
    "btw_jax": btw_jax.__version__,
    "jax": jax.__version__,
    "numpy": np.__version__,
  }
  today = datetime.datetime.now(datetime.UTC).date()
  measured.content["finished"] = today.isoformat()
  return measured


def check_output(folder: str) -> None:
  """Checks that a folder can be written, before anything is measured.

  Raises:
    InputError: if it is a file, or if its first parent that exists is read-only
      or no folder.
  """
  path = pathlib.Path(folder)
  existing = next(p for p in (path, *path.absolute().parents) if p.exists())
  if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
    reason = "is read-only" if existing.is_dir() else "is no folder"
    raise errors.InputError(
      f"--output={folder}: {existing} {reason}: choose another folder."
    )


def write(measured: measure_lib.Measured, folder: str) -> pathlib.Path:
  """Writes the files of an audit, and returns the path of the page.

  Files of an earlier audit in the folder are replaced or removed.
  """
  path = folders.make("output", folder)
  # The results are written last: a folder that has them is whole.
  if (path / RESULTS).exists():
    earlier = [p for pattern in _BY_QUESTION for p in path.glob(pattern)]
    files.remove([path / RESULTS, *earlier])
  for name, columns in measured.tables.items():
    table = pyarrow.table({k: _cells(v) for k, v in columns.items()})
    files.write(path / name, lambda p, table=table: csv.write_csv(table, p))
  files.write_text(path / TABLES, audit_tables.write(measured.content))
  files.write_text(path / PAGE, audit_page.write(measured.content))
  files.write_json(path / RESULTS, measured.content)
  return path / PAGE


def _cells(values):
  """Returns a column whose texts a spreadsheet does not compute."""
  values = np.asarray(values)
  is_text = values.dtype.kind in "UO"
  return [csv_text.cell(v) for v in values.tolist()] if is_text else values
