"""What each example got: weights, and whether certainty was deserved."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv
from scipy import stats

from btw_jax.reports import curves
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg

_BINS = 10
_GROUPS = 5
_SAME = 1e-5
_QUANTILES = np.arange(1, 10) / 10
_LAWS = {"gaussian": stats.norm, "laplace": stats.laplace}


def of_problem(problem: study_lib.Problem) -> list[svg.Panel]:
  """Calibration of all methods, and the weights of those that weigh.

  Args:
    problem: of a study.

  Returns:
    Panels.
  """
  tables = {}
  for method in problem.methods.values():
    path = method.cell.path
    if path not in tables:
      tables[path] = _read(method.cell)
  found = [_reliability(problem, tables)]
  for method in curves.weighing(problem):
    own = _of(tables[method.cell.path], method)
    # Where they do not, a histogram would show the seeds.
    if _differ(own):
      found += [_histogram(method, own), _against_score(problem, method, own)]
  return found


def _differ(own):
  """Whether examples of any seed have different weights."""
  each = (own["weights"][own["seed"] == s] for s in np.unique(own["seed"]))
  return max(np.ptp(weights, axis=0).max() for weights in each) > _SAME


def _read(cell) -> Mapping[str, np.ndarray]:
  """Columns of `predictions.csv`; numbers where rows hold one."""
  modalities = cell.results["modalities"]
  weights = [f"weight_{m}" for m in modalities]
  texts = ["target", "prediction", "certainty"]
  table = csv.read_csv(
    cell.path / "predictions.csv",
    convert_options=csv.ConvertOptions(
      include_columns=["weighting", "seed", *texts, *weights],
      column_types={
        "weighting": pa.string(),
        **dict.fromkeys(texts, pa.string()),
      },
    ),
  )
  found = {c: table[c].to_numpy() for c in ("weighting", "seed")}
  for name in texts:
    # Several labels are separated by spaces.
    rows = [row.split() for row in table[name].to_pylist()]
    found[name] = np.array(rows, np.float64)
  found["weights"] = np.stack([table[w].to_numpy() for w in weights], axis=1)
  return found


def _of(table, method) -> dict[str, Any]:
  """The rows of one method."""
  own = table["weighting"] == method.weighting
  return {k: v[own] for k, v in table.items()}


def _right(method, own):
  """Whether each row's decisions are right; of a regression the error."""
  task = method.cell.results["task"]
  if task == "regression":
    return np.abs(own["prediction"] - own["target"])
  decided = own["prediction"]
  if task != "multiclass":
    decided = decided > 0.5
  return (decided == own["target"]).astype(float)


def calibration(
  method: study_lib.Method, own: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Points of a reliability diagram.

  Guo et al. (2017), "On calibration of modern neural networks"; of a regression
  Kuleshov et al. (2018), arXiv 1807.00263.

  Args:
    method: whose.
    own: its rows: target, prediction, certainty, `[rows, labels]`.

  Returns:
    Mean certainty of each bin that has some and the share of right decisions;
    or predicted quantiles and the share of targets below them.
  """
  if method.cell.results["task"] == "regression":
    law = _LAWS[method.cell.config["predictive"]]
    below = law.cdf(own["target"], own["prediction"], own["certainty"])
    return _QUANTILES, np.mean(below <= _QUANTILES, axis=0)
  certainty, right = own["certainty"].ravel(), _right(method, own).ravel()
  places = np.clip(np.ceil(certainty * _BINS).astype(int) - 1, 0, _BINS - 1)
  counts = np.bincount(places, minlength=_BINS)
  there = counts > 0
  sums = [np.bincount(places, x, _BINS)[there] for x in (certainty, right)]
  return sums[0] / counts[there], sums[1] / counts[there]


def _reliability(problem, tables):
  regression = problem.unit == "mae"

  def plot(ax):
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    low = 1.0
    for number, method in enumerate(problem.methods.values()):
      own = _of(tables[method.cell.path], method)
      said, found = calibration(method, own)
      ece = 100 * np.mean(method.row["metrics"]["ece"])
      label = f"{method.name}, ECE {ece:.1f} %"
      ax.plot(said, found, "o-", ms=3, lw=1.2, label=label, color=f"C{number}")
      low = min(low, *said, *found)
    ax.set_xlim(low - 0.02, 1.02)
    ax.set_ylim(low - 0.02, 1.02)
    if regression:
      ax.set_xlabel("predicted quantile")
      ax.set_ylabel("targets below it")
    else:
      ax.set_xlabel("certainty of the decision")
      ax.set_ylabel("right decisions")
    number = len(problem.methods)
    ax.figure.legend(
      loc="outside lower center", ncols=2 if number > 1 else 1, frameon=False
    )

  return svg.draw(
    "reliability", "calibration on test, all seeds", plot, height=3.6
  )


def _histogram(method, own):
  modalities = method.cell.results["modalities"]

  def plot(ax):
    top = max(own["weights"].max(), 1e-6)
    edges = np.linspace(0, top, 31)
    for number, modality in enumerate(modalities):
      weights = own["weights"][:, number]
      counts, _ = np.histogram(weights[weights > 0], edges)
      ax.stairs(counts, edges, label=modality, color=f"C{number}")
    ax.set_yscale("symlog")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("weight of an example")
    ax.set_ylabel("examples, all seeds")
    svg.legend(ax)

  title = f"{method.name}: weights of test examples"
  return svg.draw(f"histogram_{method.name}", title, plot)


def fifths(
  seeds: np.ndarray, weights: np.ndarray, scores: np.ndarray
) -> np.ndarray:
  """Mean weight and score of a fifth of each seed's examples, by their weight.

  Args:
    seeds: `[rows]`, whose each row is.
    weights: `[rows]`; examples that lack the modality weigh 0 and are left out.
    scores: `[rows]`.

  Returns:
    `[2, 5]` means over seeds, least weights first.
  """
  found = []
  for seed in np.unique(seeds):
    own = np.flatnonzero((seeds == seed) & (weights > 0))
    own = own[np.argsort(weights[own], kind="stable")]
    groups = np.array_split(own, _GROUPS)
    if all(map(len, groups)):
      found.append([[x[g].mean() for g in groups] for x in (weights, scores)])
  return np.mean(found, axis=0) if found else np.empty((2, 0))


def _against_score(problem, method, own):
  """Quality by the weight of each modality."""
  modalities = method.cell.results["modalities"]
  score = _right(method, own).mean(axis=1)
  regression = problem.unit == "mae"
  factor = 1 if regression else 100

  def plot(ax):
    for number, modality in enumerate(modalities):
      weight, mean = fifths(own["seed"], own["weights"][:, number], score)
      style = {"label": modality, "color": f"C{number}"}
      ax.plot(weight, factor * mean, "o-", ms=3, lw=1.2, **style)
    ax.set_xlabel("mean weight, fifths of each seed's examples")
    ax.set_ylabel("mean error" if regression else "right decisions, %")
    svg.legend(ax)

  what = "error" if regression else "correctness"
  title = f"{method.name}: weight against {what}"
  return svg.draw(f"{what}_{method.name}", title, plot)
