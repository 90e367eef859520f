"""Tables of a study with a row per method and a column per data set."""

from collections.abc import Sequence

import numpy as np

from btw_jax.reports import costs
from btw_jax.reports import imbalance
from btw_jax.reports import labels
from btw_jax.reports import results
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables
from btw_jax.reports import tuning

_SHORT = {"accuracy": "accuracy", "mae": "MAE", "nll": "NLL"}


def write(
  problems: Sequence[study_lib.Problem],
) -> dict[str, list[dict[str, str]]]:
  """Returns name -> rows of all tables, for `study.json`.

  The tables are a summary; the change of decisions, of the likelihood and of
  the calibration by each method; the imbalance of each model; what each method
  chose; and the validation of every candidate.
  """
  return {
    "summary": summary(problems),
    "decisions": changes(problems, 0),
    "likelihood": changes(problems, 1),
    "calibration": _rows(problems, _calibration),
    "imbalance": _rows(problems, _imbalances(problems)),
    "choices": _rows(problems, _chosen),
    "candidates": candidates(problems),
  }


def summary(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Returns where each method differs significantly from the uniform model.

  Rows are those of `changes` in decisions, in the same order, without the
  uniform model.
  """
  rows = []
  for row in changes(problems, 0):
    name = row["method"]
    if name == problems[0].base.name:
      continue
    cells = {
      word: _where(problems, name, verdict)
      for word, verdict in (("better on", 1), ("worse on", -1))
    }
    known = {k: row[k] for k in ("mean rank", "cost") if k in row}
    rows.append({"method": name, **cells, **known})
  return rows


def _where(problems, name, verdict):
  """Lists the data sets, and metrics, on which a method has a verdict."""
  places = []
  for problem in problems:
    comparisons = problem.all_comparisons
    metrics = [
      _SHORT[metric]
      for metric in problem.metrics
      if (name, metric) in comparisons
      and comparisons[name, metric].verdict == verdict
    ]
    if metrics:
      places.append(f"{problem.name} ({', '.join(metrics)})")
  return ", ".join(places)


def changes(
  problems: Sequence[study_lib.Problem], place: int
) -> list[dict[str, str]]:
  """Returns the change of a metric by each method, the best mean rank first.

  Args:
    problems: of the study.
    place: of the metric in the `metrics` of a problem: 0 for that of decisions,
      1 for the likelihood.

  Returns:
    Rows, heading -> cell. The uniform model has its means. Mean ranks and the
    median cost over data sets follow, where they are known.
  """

  def cell(problem, name):
    metric = problem.metrics[place]
    column = tables.COLUMNS[metric]
    if name == problem.base.name:
      mean = np.mean(problem.base.row["metrics"][metric])
      return f"{column.factor * mean:.{column.digits}f}"
    return results.change(problem, name, metric)

  def heading(problem):
    return f", {tables.COLUMNS[problem.metrics[place]].heading}"

  rows = _rows(problems, cell, heading)
  ranked = results.mean_ranks(problems, place)
  for row in rows:
    name = row["method"]
    if ranked:
      row["mean rank"] = f"{ranked[name]:.1f}" if name in ranked else ""
    row["cost"] = _median_cost(problems, name)
  return sorted(rows, key=lambda row: ranked.get(row["method"], np.inf))


def candidates(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Returns the validation of each candidate of each tuned method.

  A cell is the gain in the score over the uniform model ± its standard error,
  over seeds and examples.
  """
  rows = []
  for problem in problems:
    column = tables.COLUMNS[problem.unit]
    for name, method in problem.methods.items():
      tried = method.row.get("to_uniform", [])
      cells = {}
      for number, candidate in enumerate(sorted(tried, key=labels.value), 1):
        setting = labels.setting(method.weighting, candidate)
        gain, error = (
          column.factor * candidate[key] for key in ("gain", "gain_error")
        )
        sign = column.sign
        cells[f"candidate {number}"] = (
          f"{setting}: {sign * gain + 0.0:+.{column.digits}f}"
          f" ± {error:.{column.digits}f}"
        )
      if cells:
        rows.append(
          {
            "data": f"{problem.name}, Δ {column.heading}",
            "method": name,
            **cells,
          }
        )
  return rows


def _names(problems):
  """Returns the names of all methods, and of baselines of all data sets."""
  names = [name for p in problems for name in (p.base.name, *p.methods)]
  names += [
    name
    for name in results.ranked(problems[0])
    if all(name in results.ranked(p) for p in problems)
  ]
  return list(dict.fromkeys(names))


def _rows(problems, cell, heading=lambda problem: ""):
  """Returns a row per method, with a cell for each problem."""
  rows = [
    {
      "method": name,
      **{f"{p.name}{heading(p)}": cell(p, name) for p in problems},
    }
    for name in _names(problems)
  ]
  # A method without any value has no row.
  return [row for row in rows if any(list(row.values())[1:])]


def _median_cost(problems, name):
  """Returns the median cost of a method over the problems that know it."""
  values = [
    costs.relative(problem, problem.methods[name])
    for problem in problems
    if name in problem.methods
  ]
  known = [value for value in values if value is not None]
  return f"{np.median(known):.1f}" if known else ""


def _calibration(problem, name):
  method = results.ranked(problem).get(name)
  if method is None:
    return ""
  return tables.COLUMNS["ece"].mean_std(method.row["metrics"]["ece"])


def _imbalances(problems):
  measured = {problem.name: imbalance.measure(problem) for problem in problems}

  def cell(problem, name):
    shares = measured[problem.name].get(name)
    return "" if shares is None else tables.mean_std(shares.values, 1.0, 3)

  return cell


def _chosen(problem, name):
  method = problem.methods.get(name)
  if method is None or not tuning.is_tuned(method):
    return ""
  if name == problem.base.name:
    return f"rate {tuning.learning_rate(method):g}"
  return labels.setting(method.weighting, method.choice)
