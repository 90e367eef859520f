"""Plots of test examples: calibration, weights, and quality by weight."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from btw_jax.reports import curves
from btw_jax.reports import palette
from btw_jax.reports import prediction_file
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg

_BINS = 10
_GROUPS = 5
# Weights that differ by less are equal up to rounding.
_TOLERANCE = 1e-5
_QUANTILES = np.arange(1, 10) / 10
_LAWS = {"gaussian": stats.norm, "laplace": stats.laplace}


def draw_examples(
  problem: study_lib.Problem,
) -> tuple[list[svg.Panel], list[svg.Panel]]:
  """Draws the calibration of all methods, and the weights of each method.

  There is a plot of calibration for each of `curves.parts`.
  """
  tables = {}
  for method in problem.methods.values():
    path = method.run.path
    if path not in tables:
      tables[path] = prediction_file.read(method.run)
  shown = {}
  for label, method in curves.weighted_methods(
    problem.methods.values()
  ).items():
    rows = _select(tables[method.run.path], method)
    # If all examples of a seed have equal weights, a histogram over examples
    # would show nothing but the seeds.
    if _weights_differ(rows):
      shown[label] = method, rows
  top = max((rows["weights"].max() for _, rows in shown.values()), default=0)
  edges = np.linspace(0, max(top, 1e-6), 31)
  histograms = [_histogram(k, *v, edges) for k, v in shown.items()]
  scores = [_scores(problem, k, *v) for k, v in shown.items()]
  parts = curves.parts(curves.distinct_methods(problem.methods.values()))
  calibrations = [
    _calibration(problem, tables, methods, number, parts)
    for number, methods in enumerate(parts, 1)
  ]
  weights = svg.draw(histograms, share="y") + svg.draw(scores, share="xy")
  return svg.draw(calibrations, share="xy"), weights


def _weights_differ(rows):
  """Returns True if the weights differ between examples of any seed."""
  by_seed = (
    rows["weights"][rows["seed"] == s] for s in np.unique(rows["seed"])
  )
  return max(np.ptp(weights, axis=0).max() for weights in by_seed) > _TOLERANCE


def _select(table, method) -> dict[str, Any]:
  """Returns the rows of one method."""
  selected = table["weighting"] == method.weighting
  return {k: v[selected] for k, v in table.items()}


def calibration(
  method: study_lib.Method, rows: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Computes the points of a reliability diagram.

  Guo et al. (2017), "On calibration of modern neural networks"; for regression
  Kuleshov et al. (2018), arXiv 1807.00263.

  Args:
    method: the method.
    rows: its columns, as `prediction_file.read` returns them.

  Returns:
    Mean confidence and share of correct decisions in each bin that is not
    empty; in regression, predicted quantiles and the share of targets below
    them.
  """
  if method.run.results["task"] == "regression":
    law = _LAWS[method.run.config["predictive"]]
    # The scale of a law is not its standard deviation for Laplace's.
    scale = rows["std"] / law.std()
    below = law.cdf(rows["target"], rows["mean"], scale)
    return _QUANTILES, np.mean(below <= _QUANTILES, axis=0)
  confidence, correct = rows["certainty"].ravel(), rows["score"].ravel()
  bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
  counts = np.bincount(bins, minlength=_BINS)
  filled = counts > 0
  sums = [np.bincount(bins, x, _BINS)[filled] for x in (confidence, correct)]
  return sums[0] / counts[filled], sums[1] / counts[filled]


def _calibration(problem, tables, methods, part, parts):
  """Returns the drawing of the reliability of the methods of one part."""

  def plot(ax):
    ax.plot([0, 1], [0, 1], color=palette.LIGHT.soft, lw=1.2, linestyle=":")
    low = 1.0
    for number, (label, method) in enumerate(methods.items()):
      rows = _select(tables[method.run.path], method)
      predicted, observed = calibration(method, rows)
      ece = 100 * np.mean(method.row["metrics"]["ece"])
      label = f"{label}, ECE {ece:.1f} %"
      ax.plot(predicted, observed, lw=1.2, label=label, **palette.line(number))
      low = min(low, *predicted, *observed)
    ax.set_xlim(low - 0.02, 1.02)
    ax.set_ylim(low - 0.02, 1.02)
    if problem.is_regression:
      ax.set_xlabel("predicted quantile")
      ax.set_ylabel("share of targets below it")
    else:
      ax.set_xlabel("confidence of the decision")
      ax.set_ylabel("share of correct decisions")
    svg.legend(ax)

  split = problem.base.run.results.get("split", "test")
  of_parts = curves.suffix(part, parts)
  title = f"calibration on the {split} split, all seeds{of_parts}"
  name = f"reliability{curves.suffix(part, parts, '_{0}')}"
  return svg.Drawing(name, title, plot, height=3.4)


def _histogram(label, method, rows, edges):
  """Returns the drawing of the number of examples by weight."""
  modalities = method.run.results["modalities"]

  def plot(ax):
    for number, modality in enumerate(modalities):
      weights = rows["weights"][:, number]
      counts, _ = np.histogram(weights[weights > 0], edges)
      style = palette.line(number)
      centres = (edges[:-1] + edges[1:]) / 2
      ax.plot(
        centres, counts, label=modality, lw=1.2, drawstyle="steps-mid",
        markevery=[int(counts.argmax())], **style,
      )  # fmt: skip
    ax.set_yscale("symlog")
    # Powers of ten would have small exponents.
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("weight in an example")
    ax.set_ylabel("number of examples, all seeds")
    svg.legend(ax)

  title = f"{label}: weights of test examples"
  return svg.Drawing(f"histogram_{method.name}", title, plot)


def mean_by_fifth(
  seeds: np.ndarray, weights: np.ndarray, scores: np.ndarray
) -> np.ndarray:
  """Computes mean weight and mean score in fifths of each seed's examples.

  The arguments are `[rows]`; rows with weight 0 lack the modality and are left
  out. Returns `[2, 5]`: weight and score, means over seeds, the smallest
  weights first; `[2, 0]` if every seed has fewer than five such rows.
  """
  by_seed = []
  for seed in np.unique(seeds):
    rows = np.flatnonzero((seeds == seed) & (weights > 0))
    rows = rows[np.argsort(weights[rows], kind="stable")]
    groups = np.array_split(rows, _GROUPS)
    if all(map(len, groups)):
      by_seed.append([[x[g].mean() for g in groups] for x in (weights, scores)])
  return np.mean(by_seed, axis=0) if by_seed else np.empty((2, 0))


def _scores(problem, label, method, rows):
  """Returns the drawing of the score of examples by a modality's weight."""
  modalities = method.run.results["modalities"]
  score = rows["score"].mean(axis=1)
  regression = problem.is_regression
  factor = 1 if regression else 100

  def plot(ax):
    for number, modality in enumerate(modalities):
      weight, mean = mean_by_fifth(
        rows["seed"], rows["weights"][:, number], score
      )
      style = palette.line(number)
      ax.plot(weight, factor * mean, lw=1.2, label=modality, **style)
    ax.set_xlabel("mean weight, by fifths of the examples of a seed")
    ax.set_ylabel(
      "MAE, unit of the target" if regression else "correct decisions, %"
    )
    svg.legend(ax)

  quality = "error" if regression else "correctness"
  title = f"{label}: {quality} by weight"
  return svg.Drawing(f"{quality}_{method.name}", title, plot)
