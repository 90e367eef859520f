"""Reads `predictions.csv` of a run, by column."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pyarrow import csv

from btw_jax.reports import study as study_lib


def read(run: study_lib.RunFiles) -> Mapping[str, np.ndarray]:
  """Reads the predictions of a run.

  Returns:
    Column -> values of each row: `weighting` and `seed` `[rows]`; `weights`
    `[rows, M]`; `score` `[rows, labels]`, 1 for a correct decision and 0 for a
    wrong one, or the absolute error of a regression. For a regression also
    `target`, `mean` and `std` `[rows, 1]`; for others `certainty` `[rows,
    labels]`, the probability of the decision.
  """
  texts = ["weighting", "target", "prediction"]
  table = csv.read_csv(
    run.path / "predictions.csv",
    convert_options=csv.ConvertOptions(
      # A class may be called "1" or "yes": only words are compared.
      column_types=dict.fromkeys(texts, pa.string()),
      strings_can_be_null=False,
    ),
  )
  columns = {c: table[c].to_numpy() for c in ("weighting", "seed")}
  weights = [f"weight_{m}" for m in run.results["modalities"]]
  columns["weights"] = np.stack([table[w].to_numpy() for w in weights], axis=1)
  task = run.results["task"]
  if task == "regression":
    return columns | _values(table)
  probs = np.stack(
    [table[c].to_numpy() for c in table.column_names if c.startswith("p_")],
    axis=1,
  )
  target, decision = (table[c].to_pylist() for c in ("target", "prediction"))
  if task != "multilabel":
    correct = np.array(target) == np.array(decision)
    certainty = probs.max(axis=1, keepdims=True)
    return columns | {"score": correct[:, None] * 1.0, "certainty": certainty}
  # Several labels are separated by spaces.
  target, decision = (
    np.array([row.split() for row in rows]) for rows in (target, decision)
  )
  certainty = np.maximum(probs, 1 - probs)
  return columns | {"score": (target == decision) * 1.0, "certainty": certainty}


def _values(table):
  """Returns the columns of a regression."""
  values = {
    name: table[name].cast(pa.float64()).to_numpy()[:, None]
    for name in ("target", "mean", "std")
  }
  return values | {"score": np.abs(values["mean"] - values["target"])}
