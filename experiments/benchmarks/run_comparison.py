"""Compares two finished runs: their tables and their models."""

import csv
import itertools
import pathlib

import jax
import numpy as np

from btw_jax.pipeline import restore
from btw_jax.pipeline import saved_config

_FILES = ("metrics.csv", "weights.csv", "predictions.csv")
# Tables hold six digits of a number, so that the last one may differ.
_ROUNDING = 2e-5


def differences(
  first: pathlib.Path, second: pathlib.Path, tolerance: float = 0.0
) -> list[str]:
  """Lists the files and models in which two finished runs differ.

  Args:
    first: workdir of a run.
    second: workdir of the run to compare with.
    tolerance: relative and absolute difference of numbers that is allowed; with
      0 the files must be equal byte by byte.

  Returns:
    Names of files and checkpoints.
  """
  differing = []
  for name in _FILES:
    texts = [
      (workdir / name).read_text(encoding="utf-8")
      for workdir in (first, second)
    ]
    if texts[0] == texts[1]:
      continue
    if not (tolerance and _close(*texts, tolerance)):
      differing.append(name)
  models = [_models(workdir) for workdir in (first, second)]
  for name in models[0]:
    leaves = zip(*(jax.tree.leaves(m[name]) for m in models), strict=True)
    if not all(
      np.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in leaves
    ):
      differing.append(f"checkpoints/{name}")
  return differing


def _close(first, second, tolerance):
  """Checks that two tables agree, number by number."""
  tables = [list(csv.reader(text.splitlines())) for text in (first, second)]
  if [len(row) for row in tables[0]] != [len(row) for row in tables[1]]:
    return False
  cells = (itertools.chain.from_iterable(table) for table in tables)
  for a, b in zip(*cells, strict=True):
    try:
      if not np.isclose(float(a), float(b), rtol=_ROUNDING, atol=tolerance):
        return False
    except ValueError:
      # One of the cells is text.
      if a != b:
        return False
  return True


def _models(workdir):
  """Loads the parameters of every model of a run, by name."""
  models = restore.load_models(saved_config.read(workdir))
  return {"unimodal": models.unimodal.params, **models.multimodal}
