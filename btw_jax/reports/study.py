"""A finished study, as its folder holds it, and what it compares."""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from btw_jax.reports import statistics
from btw_jax.reports import tables

BASE = "uniform"
LEVEL = 0.05


class Cell(NamedTuple):
  """One run of a study.

  Attributes:
    data: name of its recipe.
    path: folder of the run.
    config: its flags.
    results: what `results.json` holds.
    versions: of Python and libraries.
  """

  data: str
  path: pathlib.Path
  config: Mapping[str, Any]
  results: Mapping[str, Any]
  versions: Mapping[str, str]


class Method(NamedTuple):
  """A weighting, with or without mitigation.

  Attributes:
    name: the weighting, then the mitigations.
    weighting: of the run.
    cell: the run.
    row: of its results.
  """

  name: str
  weighting: str
  cell: Cell
  row: Mapping[str, Any]


class Comparison(NamedTuple):
  """A method against the base of its problem, by one metric.

  Attributes:
    method: name.
    metric: name of `tables.COLUMNS`.
    gain: mean paired difference over seeds, positive if the method is better.
    interval: 95 % bootstrap interval of it.
    p_value: of a paired permutation test.
    corrected: the same by Holm, for all methods of the problem.
    spread: standard deviation over seeds relative to the base's; None if the
      base has none.
    spread_corrected: Brown–Forsythe p-value by Holm, likewise.
  """

  method: str
  metric: str
  gain: float
  interval: tuple[float, float]
  p_value: float
  corrected: float
  spread: float | None
  spread_corrected: float

  @property
  def verdict(self) -> int:
    """1 if better beyond chance, −1 if worse, 0 if neither."""
    return int(np.sign(self.gain)) if self.corrected < LEVEL else 0


class Problem(NamedTuple):
  """A data set and a model, and all that was tried on it.

  Attributes:
    name: of the data set and the model.
    unit: name of the metric of decisions, "accuracy" or "mae".
    methods: name -> method; the first is what others are compared with.
    comparisons: (name, metric) -> comparison of a method with the base; those
      by decisions before those by likelihood.
  """

  name: str
  unit: str
  methods: Mapping[str, Method]
  comparisons: Mapping[tuple[str, str], Comparison]

  @property
  def base(self) -> Method:
    """What others are compared with."""
    return next(iter(self.methods.values()))

  @property
  def others(self) -> Sequence[Method]:
    """What is compared."""
    return list(self.methods.values())[1:]

  @property
  def metrics(self) -> tuple[str, str]:
    """What is tested: decisions, then likelihood."""
    return self.unit, "nll"


def read(runs: Sequence[tuple[str, str | os.PathLike]]) -> list[Cell]:
  """Reads finished runs.

  Args:
    runs: name of the data set and folder of each.

  Returns:
    The runs.
  """
  cells = []
  for data, folder in runs:
    path = pathlib.Path(folder)
    written, results = (
      json.loads((path / name).read_text(encoding="utf-8"))
      for name in ("config.json", "results.json")
    )
    cells.append(
      Cell(data, path, written["config"], results, written["versions"])
    )
  return cells


def problems(cells: Sequence[Cell]) -> list[Problem]:
  """What can be compared: all methods of a data set and a model.

  Args:
    cells: runs of a study.

  Returns:
    Problems, the uniform model of each without mitigation first.
  """
  found = {}
  for cell in cells:
    methods = found.setdefault((cell.data, cell.config["model"]), {})
    for row in cell.results["rows"]:
      if row["kind"] == "weighting":
        name = " + ".join([row["name"], *cell.config["mitigation"]])
        methods[name] = Method(name, row["name"], cell, row)
  several = len({model for _, model in found}) > 1

  def first(item):
    method = item[1]
    return method.weighting != BASE, len(method.cell.config["mitigation"])

  made = []
  for (data, model), methods in found.items():
    problem = Problem(
      f"{data}, {model}" if several else data,
      next(iter(methods.values())).cell.results["unit"],
      dict([min(methods.items(), key=first)]) | methods,
      {},
    )
    made.append(problem._replace(comparisons=_compare(problem)))
  return made


def _compare(problem):
  """P-values are corrected for the number of methods of the problem.

  Each problem and each of its two metrics is a question of its own.
  """
  found = {}
  for metric in problem.metrics:
    family = [_tested(problem, m, metric) for m in problem.others]
    corrected = statistics.holm([c.p_value for c in family])
    of_spread = statistics.holm([c.spread_corrected for c in family])
    for c, p, q in zip(family, corrected, of_spread, strict=True):
      found[c.method, metric] = c._replace(
        corrected=float(p), spread_corrected=float(q)
      )
  return found


def _tested(problem, method, metric):
  values, base = (
    np.asarray(m.row["metrics"][metric]) for m in (method, problem.base)
  )
  gained = tables.COLUMNS[metric].sign * (values - base)
  spreads = [np.std(x, ddof=min(1, len(x) - 1)) for x in (values, base)]
  several = len(gained) > 1
  return Comparison(
    method.name,
    metric,
    float(gained.mean()),
    statistics.interval(gained),
    statistics.paired_p_value(gained) if several else 1.0,
    1.0,
    float(spreads[0] / spreads[1]) if spreads[1] else None,
    statistics.spread_p_value(values, base) if several else 1.0,
  )
