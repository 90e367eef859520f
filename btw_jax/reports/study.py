"""The finished runs of a study and the comparisons between their methods."""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from btw_jax import paired
from btw_jax.reports import labels
from btw_jax.reports import statistics
from btw_jax.reports import tables

BASE, GATE = labels.BASE, labels.GATE
LEVEL = 0.05
# The value of --normalise whose weights have a suffix of their own, and what is
# in the names of the weightings that it changes.
_MINMAX, _DIVERGENCE = "minmax", "kl"


class RunFiles(NamedTuple):
  """The files that one finished run of a study left.

  Attributes:
    data: name of its recipe.
    path: folder of the run.
    config: flag -> value.
    results: content of `results.json`.
    versions: versions of Python and the libraries.
  """

  data: str
  path: pathlib.Path
  config: Mapping[str, Any]
  results: Mapping[str, Any]
  versions: Mapping[str, str]


class Method(NamedTuple):
  """A weighting or a balancing method, with or without mitigations.

  Attributes:
    name: its name in the run, then how weights are normalised unless over the
      modalities of an example, then the mitigations.
    weighting: its name in the run.
    run: the run that trained it.
    row: its row of the run's results.
  """

  name: str
  weighting: str
  run: RunFiles
  row: Mapping[str, Any]

  @property
  def choice(self) -> Mapping[str, Any]:
    """The setting that was chosen."""
    return self.row["choice"]

  @property
  def balance(self) -> str:
    """The name of the balancing method that trained it; empty for none."""
    return self.choice.get("balance", "")

  @property
  def entry(self) -> Mapping[str, Any]:
    """The description of the balancing method; empty without one."""
    return self.run.results.get("balance", {}).get(self.balance, {})


class Comparison(NamedTuple):
  """A method compared with the base of its problem by one metric.

  Attributes:
    method: name of the method.
    metric: name in `tables.COLUMNS`.
    gain: mean paired difference over seeds, positive if the method is better.
    interval: 95 % bootstrap interval of the gain.
    p_value: p-value of the paired permutation test of the gain.
    corrected: `p_value` after Holm's correction for all methods of the problem.
    spread: standard deviation over seeds divided by that of the base; None if
      the base does not vary.
    spread_corrected: p-value of the Brown–Forsythe test of the spread, after
      Holm's correction.
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
    """1 if significantly better, −1 if significantly worse, 0 otherwise."""
    return int(np.sign(self.gain)) if self.corrected < LEVEL else 0


class Problem(NamedTuple):
  """A data set and a model, with all methods that were trained on them.

  Attributes:
    name: name of the data set, and of the model if a study has several.
    unit: the metric of decisions, "accuracy" or "mae".
    methods: name -> method; the first is the base of all comparisons.
    baselines: name -> method that needs no training of its own, of the run of
      the base.
    comparisons: (method, metric) -> comparison with the base; comparisons by
      `unit` come before those by NLL.
    baseline_comparisons: (baseline, metric) -> comparison with the base.
  """

  name: str
  unit: str
  methods: Mapping[str, Method]
  baselines: Mapping[str, Method]
  comparisons: Mapping[tuple[str, str], Comparison]
  baseline_comparisons: Mapping[tuple[str, str], Comparison]

  @property
  def is_regression(self) -> bool:
    """True if the target is a number."""
    return self.unit == "mae"

  @property
  def base(self) -> Method:
    """The method that the others are compared with."""
    return next(iter(self.methods.values()))

  @property
  def others(self) -> Sequence[Method]:
    """All methods but the base."""
    return list(self.methods.values())[1:]

  @property
  def all_comparisons(self) -> Mapping[tuple[str, str], Comparison]:
    """The comparisons of methods, and of baselines."""
    return {**self.comparisons, **self.baseline_comparisons}

  @property
  def metrics(self) -> tuple[str, str]:
    """The tested metrics: `unit`, then the likelihood (NLL)."""
    return self.unit, "nll"


def name_units(problems: Sequence[Problem]) -> str:
  """Names the metrics of decisions: "accuracy", "MAE" or "accuracy or MAE"."""
  names = {"accuracy": "accuracy", "mae": "MAE"}
  units = {problem.unit for problem in problems}
  return " or ".join(name for unit, name in names.items() if unit in units)


def has_balance(problems: Sequence[Problem]) -> bool:
  """Returns whether any method of any problem is a balancing method."""
  return any(m.balance for p in problems for m in p.methods.values())


def stage(choice: Mapping[str, Any]) -> str:
  """Returns the stage of a run's tables in which a setting was trained."""
  if choice.get("balance"):
    return choice["balance"]
  return "gate" if choice["variant"] == GATE else "multimodal"


def run_name(choice: Mapping[str, Any]) -> str:
  """Returns the name of a setting's runs in the tables of a run."""
  variant, balance = choice["variant"], choice.get("balance")
  if not balance:
    return variant
  name = balance if variant == BASE else f"{variant}-{balance}"
  return name if choice["value"] is None else f"{name}@{choice['value']:g}"


def read(runs: Sequence[tuple[str, str | os.PathLike]]) -> list[RunFiles]:
  """Reads finished runs, given as (name of the data set, folder)."""
  finished = []
  for data, folder in runs:
    path = pathlib.Path(folder)
    saved, results = (
      json.loads((path / name).read_text(encoding="utf-8"))
      for name in ("config.json", "results.json")
    )
    finished.append(
      RunFiles(data, path, saved["config"], results, saved["versions"])
    )
  return finished


def problems(runs: Sequence[RunFiles]) -> list[Problem]:
  """Groups runs by data set and model and compares their methods.

  The base of each problem is its uniform model without mitigation.
  """
  grouped = {}
  for run in runs:
    methods = grouped.setdefault((run.data, run.config["model"]), {})
    _add_methods(methods, run)
  several = len({model for _, model in grouped}) > 1

  def base_first(item):
    method = item[1]
    return method.weighting != BASE, len(method.run.config["mitigation"])

  compared = []
  for (data, model), methods in grouped.items():
    base_name, base = min(methods.items(), key=base_first)
    problem = Problem(
      f"{data}, {model}" if several else data,
      base.run.results["unit"],
      # The union keeps the order of the left side, so the base comes first.
      {base_name: base} | methods,
      {
        row["name"]: Method(row["name"], row["name"], base.run, row)
        for row in base.run.results["rows"]
        if row["kind"] == "baseline"
      },
      {},
      {},
    )
    baselines = list(problem.baselines.values())
    compared.append(
      problem._replace(
        comparisons=_compare(problem, problem.others),
        baseline_comparisons=_compare(problem, baselines),
      )
    )
  return compared


def _add_methods(methods, run):
  """Adds the methods of a run to those of its problem, name -> method.

  Divergences that are normalised by minimum and maximum make other methods. All
  other models of such a run are those of the run with the usual weights.
  """
  is_minmax = run.config.get("normalise") == _MINMAX
  for row in run.results["rows"]:
    if row["kind"] != "weighting":
      continue
    parts = [row["name"], *run.config["mitigation"]]
    differs = is_minmax and _DIVERGENCE in row["name"]
    if differs:
      parts[0] += " (min-max)"
    name = " + ".join(parts)
    method = Method(name, row["name"], run, row)
    if is_minmax and not differs:
      methods.setdefault(name, method)
    else:
      methods[name] = method


def _compare(problem, methods):
  """Compares methods with the base, by both metrics.

  P-values are corrected for the number of these methods, separately for each
  problem and each of its two metrics.
  """
  comparisons = {}
  for metric in problem.metrics:
    family = [_test(problem, m, metric) for m in methods]
    corrected = paired.holm([c.p_value for c in family])
    spread_corrected = paired.holm([c.spread_corrected for c in family])
    for c, p, q in zip(family, corrected, spread_corrected, strict=True):
      comparisons[c.method, metric] = c._replace(
        corrected=float(p), spread_corrected=float(q)
      )
  return comparisons


def _test(problem, method, metric):
  """Compares a method with the base; its p-values are not corrected yet."""
  values, base = (
    np.asarray(m.row["metrics"][metric]) for m in (method, problem.base)
  )
  gains = tables.COLUMNS[metric].sign * (values - base)
  spreads = [np.std(x, ddof=min(1, len(x) - 1)) for x in (values, base)]
  several = len(gains) > 1
  return Comparison(
    method.name,
    metric,
    float(gains.mean()),
    statistics.interval(gains),
    statistics.paired_p_value(gains) if several else 1.0,
    1.0,
    float(spreads[0] / spreads[1]) if spreads[1] else None,
    statistics.spread_p_value(values, base) if several else 1.0,
  )
