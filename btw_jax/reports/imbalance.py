"""The imbalance between modalities, before and after a method balances them."""

from collections.abc import Mapping
import functools
import json
from typing import Any, NamedTuple

import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables

FILE = "contribution.json"
LEGEND = (
  "Imbalance: the share of a modality is its part, in %, of the sum of all"
  " positive contributions; a contribution is the Shapley value for the"
  " log-likelihood of the test examples, of one seed. The imbalance of M"
  " modalities is 1 − H / log M, where H is the entropy of the shares: 0 if"
  " all modalities contribute the same, 1 if one modality contributes"
  " everything. The values are means ± the standard deviation over seeds. The"
  " first row is the uniform model, before any balancing; Δ is the mean paired"
  " difference to it with its 95 % bootstrap interval."
)
_LIKELIHOOD = "likelihood"
_WIDEST = 100.0


class Imbalance(NamedTuple):
  """The imbalance of a model, by seed.

  Attributes:
    shares: modality -> `[S]`, its part of the positive contributions; NaN for a
      seed without positive contributions.
    values: `[S]`, 1 minus the normalised entropy of the shares.
  """

  shares: Mapping[str, np.ndarray]
  values: np.ndarray

  @property
  def is_known(self) -> bool:
    """True if some seed has positive contributions."""
    return bool(np.isfinite(self.values).any())


def shares(contributions: np.ndarray) -> np.ndarray:
  """Computes the shares `[M, ...]` of the positive contributions `[M, ...]`.

  They are NaN where no contribution is positive.
  """
  positive = np.maximum(contributions, 0.0)
  total = positive.sum(axis=0)
  known = total > 0
  return np.where(known, positive / np.where(known, total, 1.0), np.nan)


def imbalance(shares: np.ndarray) -> np.ndarray:
  """Computes `1 − H(shares) / log M` of shares `[M, ...]`.

  It is NaN where the shares are, and for a single modality.
  """
  if len(shares) < 2:
    return np.full(shares.shape[1:], np.nan)
  logs = np.log(np.where(shares > 0, shares, 1.0))
  return 1.0 + np.sum(shares * logs, axis=0) / np.log(len(shares))


def read(run: study_lib.RunFiles) -> Mapping[str, Any]:
  """Reads the contributions of a run; empty if they were not measured."""
  file = run.path / FILE
  if not file.exists():
    return {}
  return json.loads(file.read_text(encoding="utf-8"))


def measure(problem: study_lib.Problem) -> dict[str, Imbalance]:
  """Returns name -> imbalance of the methods whose contributions are known."""
  known = {}
  files = {m.run.path: m.run for m in problem.methods.values()}
  contents = {path: read(run) for path, run in files.items()}
  for name, method in problem.methods.items():
    by_seed = {
      row["modality"]: row["seeds"]
      for row in contents[method.run.path].get("rows", [])
      if row["weighting"] == method.weighting
      and row["metric"] == _LIKELIHOOD
      and row["modality"] is not None
    }
    if by_seed:
      parts = shares(np.array(list(by_seed.values())))
      known[name] = Imbalance(
        dict(zip(by_seed, parts, strict=True)), imbalance(parts)
      )
  return {
    name: of_method for name, of_method in known.items() if of_method.is_known
  }


def rows(problem: study_lib.Problem) -> list[dict[str, str]]:
  """Returns a row, heading -> cell, for every method; none for one model."""
  known = measure(problem)
  if len(known) < 2 or problem.base.name not in known:
    return []
  base = known[problem.base.name]
  lines = []
  for name, of_method in known.items():
    line = {"weighting": name}
    for modality, parts in of_method.shares.items():
      line[f"{modality} %"] = f"{100 * np.nanmean(parts):.1f}"
    values = of_method.values[np.isfinite(of_method.values)]
    line["imbalance"] = tables.mean_std(values, 1.0, 3)
    line["Δ imbalance"] = "" if of_method is base else _change(of_method, base)
    lines.append(line)
  return lines


def _change(of_method, base):
  """Formats the mean paired difference and its interval."""
  differences = of_method.values - base.values
  differences = differences[np.isfinite(differences)]
  if not len(differences):
    return ""
  low, high = statistics.interval(differences)
  # Adding 0 turns −0 into 0.
  mean, low, high = (round(x, 3) + 0.0 for x in (differences.mean(), low, high))
  return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def draw(problem: study_lib.Problem) -> list[svg.Panel]:
  """Draws the shares of all methods as one bar each, if there are several."""
  known = measure(problem)
  if len(known) < 2:
    return []
  height = 1.1 + 0.26 * max(len(known), 3)
  plot = functools.partial(_plot, known)
  title = "share of each modality, with the imbalance"
  return svg.draw([svg.Drawing("imbalance", title, plot, height, True)])


def _plot(known, ax):
  """Draws a bar of shares for every method, and its imbalance beside it."""
  starts = np.zeros(len(known))
  places = np.arange(len(known))
  modalities = next(iter(known.values())).shares
  for number, modality in enumerate(modalities):
    widths = np.array(
      [
        100 * np.nanmean(of_method.shares[modality])
        for of_method in known.values()
      ]
    )
    style = palette.bar(number)
    ax.barh(places, widths, 0.72, starts, label=modality, **style)
    starts += widths
  for place, of_method in zip(places, known.values(), strict=True):
    value = f"{np.nanmean(of_method.values):.2f}"
    ax.text(_WIDEST + 2, place, value, va="center")
  ax.set_yticks(places, known)
  ax.set_ylim(len(known) - 0.5, -0.5)
  ax.set_xlim(0, _WIDEST)
  ax.set_xlabel("share of the positive contributions, %")
  svg.legend(ax)
