"""The rows of `predictions.csv`: what a model predicts for each example."""

from collections.abc import Iterator, Sequence
import os
from typing import Any

import numpy as np

from btw_jax.data import labels
from btw_jax.evaluation import evaluate
from btw_jax.pipeline import files
from btw_jax.pipeline import saved_config
from btw_jax.reports import csv_text

# The seed of the rows of all seeds' models together.
ALL_SEEDS = "all"

# A quantity may be large beside its differences, as a time in seconds is.
_DIGITS = 12


def columns(
  shape: saved_config.DataShape, *, has_target: bool = True
) -> list[str]:
  """Returns the columns of the table.

  `prediction` is the class, the 0 or 1 of each of several labels, or the value.
  A column `p_<class>` has the probability of each class or label; a regression
  has the columns `mean` and `std`. A column `weight_<modality>` has the weight
  of each modality.
  """
  of_values = [f"p_{name}" for name in labels.names(shape.classes)]
  of_values = of_values or ["mean", "std"]
  return [
    "id",
    *(["target"] if has_target else []),
    "weighting",
    "seed",
    "prediction",
    *of_values,
    *(f"weight_{modality}" for modality in shape.modalities),
  ]


def rows(
  shape: saved_config.DataShape,
  weighting: str,
  seed: int | str,
  ids: Sequence[str],
  target: np.ndarray | None,
  predicted: evaluate.Predicted,
  weights: np.ndarray,
) -> Iterator[dict[str, Any]]:
  """Yields a row, column -> text, for each of N examples.

  `target` is `[N]` or `[N, C]`, or None; `weights` are `[N, M]`.
  """
  names = columns(shape, has_target=target is not None)
  if predicted.probs is None:
    values = np.stack([predicted.decision, predicted.std], axis=1)
  else:
    values = predicted.probs
  for row, id_ in enumerate(ids):
    cells = [id_]
    if target is not None:
      cells.append(to_text(shape, target[row]))
    cells += [weighting, seed, to_text(shape, predicted.decision[row])]
    digits = _DIGITS if shape.task == "regression" else 7
    cells += [f"{value:.{digits}g}" for value in values[row]]
    cells += [f"{weight:.6g}" for weight in weights[row]]
    yield dict(zip(names, cells, strict=True))


def to_text(shape: saved_config.DataShape, value: np.ndarray) -> str:
  """Writes a class by its name, several labels as 0 or 1, or a number."""
  if shape.task == "regression":
    return f"{value:.{_DIGITS}g}"
  if shape.task == "multilabel":
    return " ".join(f"{int(v)}" for v in value)
  return str(shape.classes[int(value)])


def write(
  path: str | os.PathLike,
  names: Sequence[str],
  table: Sequence[dict[str, Any]],
) -> None:
  """Writes rows with these columns as a CSV file, in full or not at all."""
  files.write_text(path, csv_text.write(names, table))
