"""The result tables of a study, as Markdown, LaTeX and CSV."""

from collections.abc import Mapping, Sequence
import re
from typing import Any

import numpy as np
import tabulate

from btw_jax.reports import costs
from btw_jax.reports import csv_text
from btw_jax.reports import imbalance
from btw_jax.reports import labels
from btw_jax.reports import overall
from btw_jax.reports import recommendation
from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables
from btw_jax.reports import tuning

_MARKS = {1: " ▲", 0: "", -1: " ▼"}
# Up to so many methods have a column each in the overview.
_MAX_COLUMNS = 8
# The name of this baseline is not the same for all data sets.
_BEST_MODALITY = "best modality"
# Characters that LaTeX prints only as mathematical commands.
_SYMBOLS = {
  "±": r"$\pm$",
  "Δ": r"$\Delta$",
  "α": r"$\alpha$",
  "γ": r"$\gamma$",
  "λ": r"$\lambda$",
  "▲": r"$\blacktriangle$",
  "▼": r"$\blacktriangledown$",
}


def legend(problems: Sequence[study_lib.Problem]) -> str:
  """Explains the numbers and marks of the tables."""
  return (
    "Values are the mean ± the standard deviation over seeds. Δ is the mean"
    " paired difference to the uniform model, the first row of the tables"
    " below; the brackets give its 95 % bootstrap interval. ▲ marks a"
    " significant improvement and ▼ a significant loss: p < .05 in a paired"
    " permutation test, after Holm's correction for the methods of one data set"
    " and model. Spread is the standard deviation of the"
    f" {study_lib.name_units(problems)} over seeds, divided by that of the"
    " uniform model; * marks a significant difference (Brown–Forsythe test with"
    f" the same correction).{_cost_legend(problems)}"
  )


def _cost_legend(problems):
  """Explains the column of costs, if a table has one."""
  return f" {costs.LEGEND}" if any(map(_has_costs, problems)) else ""


def _has_costs(problem):
  """Returns True if the cost of a method other than the base is known."""
  return any(costs.cell(problem, method) for method in problem.others)


def rows(problem: study_lib.Problem) -> list[dict[str, str]]:
  """Returns a row, heading -> cell, for every baseline and method."""
  lines = []
  base = problem.base.name
  ordered = {base: problem.base, **problem.baselines, **problem.methods}
  comparisons = problem.all_comparisons
  for name, method in ordered.items():
    line = {"weighting": label(method)}
    for metric in problem.metrics:
      column = tables.COLUMNS[metric]
      line[column.heading] = column.mean_std(method.row["metrics"][metric])
      line[f"Δ {column.heading}"] = _difference(comparisons.get((name, metric)))
    ece = tables.COLUMNS["ece"]
    line[ece.heading] = ece.mean_std(method.row["metrics"]["ece"])
    line["spread"] = _spread(comparisons.get((name, problem.unit)))
    if _has_costs(problem):
      line["cost"] = costs.cell(problem, method)
    lines.append(line)
  return lines


def label(method: study_lib.Method) -> str:
  """Returns a method's name, with its choice if it had several candidates."""
  if "choice" not in method.row:
    return method.name
  return labels.label(method.name, method.weighting, method.row)


def _difference(comparison):
  if comparison is None:
    return ""
  column = tables.COLUMNS[comparison.metric]
  mean, low, high = column.change(comparison.gain, comparison.interval)
  return f"{mean} [{low}, {high}]{_MARKS[comparison.verdict]}"


def _spread(comparison):
  if comparison is None or comparison.spread is None:
    return ""
  mark = "*" if comparison.spread_corrected < study_lib.LEVEL else ""
  return f"{comparison.spread:.2f}{mark}"


def overview(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Returns the change by each method on each problem, by both metrics.

  There are two rows per problem, or a row per method if there are many methods.
  """
  names = list(dict.fromkeys(m.name for p in problems for m in p.others))
  if len(names) > _MAX_COLUMNS:
    return _overview_by_method(problems, names)
  lines = []
  for problem in problems:
    for metric in problem.metrics:
      column, base = tables.COLUMNS[metric], problem.base
      line = {
        "data": problem.name if metric == problem.unit else "",
        "metric": column.heading,
        base.name: column.mean_std(base.row["metrics"][metric]),
      }
      line |= {f"Δ {name}": change(problem, name, metric) for name in names}
      lines.append(line)
  return lines


def _overview_by_method(problems, names):
  """Returns a row per method, with two columns per problem."""
  base = problems[0].base.name
  lines = [{"weighting": name} for name in (f"{base}, its mean", *names)]
  for problem in problems:
    for metric in problem.metrics:
      heading = f"{problem.name}: Δ {tables.COLUMNS[metric].heading}"
      values = problem.base.row["metrics"][metric]
      cells = [tables.COLUMNS[metric].mean_std(values)]
      cells += [change(problem, name, metric) for name in names]
      for line, cell in zip(lines, cells, strict=True):
        line[heading] = cell
  return lines


def change(problem: study_lib.Problem, name: str, metric: str) -> str:
  """Formats the change by a method or baseline; empty if there is none."""
  comparison = problem.all_comparisons.get((name, metric))
  if comparison is None:
    return ""
  text, _, _ = tables.COLUMNS[metric].change(
    comparison.gain, comparison.interval
  )
  return text + _MARKS[comparison.verdict]


def ranks(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Averages the ranks over problems of the methods that all problems have.

  Baselines take part, but for the best modality, whose name depends on the
  data set.

  Returns:
    Rows, heading -> cell, the best method first; no rows for a single problem.
  """
  columns = {}
  for place, metric in enumerate((study_lib.name_units(problems), "NLL")):
    by_name = mean_ranks(problems, place)
    if not by_name:
      return []
    heading = f"mean rank by {metric}"
    p_value = statistics.friedman_p_value(_scores(problems, by_name, place))
    if p_value is not None:
      heading += f" (Friedman test: {tables.p_text(p_value)})"
    columns[heading] = by_name
  first = next(iter(columns.values()))
  return [
    {"weighting": name, **{k: f"{v[name]:.2f}" for k, v in columns.items()}}
    for name in sorted(first, key=first.__getitem__)
  ]


def mean_ranks(
  problems: Sequence[study_lib.Problem], place: int
) -> dict[str, float]:
  """Returns name -> mean rank over problems, 1 is best.

  `place` is that of the metric in the `metrics` of a problem. The names are
  those of `ranked` that all problems have; none for a single problem or method.
  """
  names = [
    name for name in ranked(problems[0])
    if all(name in ranked(p) for p in problems)
  ]  # fmt: skip
  if len(problems) < 2 or len(names) < 2:
    return {}
  means = statistics.mean_ranks(_scores(problems, names, place))
  return dict(zip(names, means.tolist(), strict=True))


def _scores(problems, names, place):
  """Returns the scores `[P, names]` that are ranked."""
  return np.array(
    [[_score(p, name, p.metrics[place]) for name in names] for p in problems]
  )


def _score(problem, name, metric):
  """Returns a method's mean metric; higher is better."""
  values = ranked(problem)[name].row["metrics"][metric]
  return tables.COLUMNS[metric].sign * np.mean(values)


def ranked(problem: study_lib.Problem) -> dict[str, study_lib.Method]:
  """Returns name -> method, for all methods that ranks compare."""
  baselines = {
    name: method
    for name, method in problem.baselines.items()
    if not name.startswith(_BEST_MODALITY)
  }
  return {**problem.methods, **baselines}


def held_fixed(problem: study_lib.Problem) -> list[str]:
  """Returns sentences on the settings that the methods of a problem share."""
  results, config = problem.base.run.results, problem.base.run.config
  sizes, seeds = results["sizes"], results["seeds"]
  # A run of `btw_jax.fit` may have no test split.
  names = {"train": "training", "valid": "validation", "test": "test"}
  *others, last = (split for split in names if split in sizes)
  counts = ", ".join(f"{sizes[split]:,} {names[split]}" for split in others)
  counts += f" and {tables.quantity(sizes[last], f'{names[last]} example')}"
  apart = [m.name for m in problem.methods.values() if costs.has_own_network(m)]
  but = f", but for the network of {', '.join(apart)}" if apart else ""
  sentences = [
    f"Data: {counts}; modalities:"
    f" {', '.join(results['modalities'])}. For each seed, all methods use the"
    " same splits.",
    f"Seeds: {seeds[0]} to {seeds[-1]}. For each seed, all methods use the same"
    f" initial parameters, batches and dropout{but}.",
    f"Training: {tables.quantity(config['num_epochs'], 'epoch')}, batch size"
    f" {config['batch_size']}, AdamW with {_optimizer(problem)}, dropout rate"
    f" {config['dropout']:g}. The epoch with the lowest validation loss is"
    " kept.",
    f"Embedding scale: {results['embedding_scale']:g} for every method,"
    f" {_scale_choice(config)}.",
  ]
  mitigations = {tuple(m.run.config["mitigation"]) for m in
                 problem.methods.values()}  # fmt: skip
  if mitigations != {()}:
    sentences.append(
      "Mitigation: methods with a mitigation also train on perturbed copies or"
      " embeddings, so each training step needs more computation."
    )
  return sentences


def _optimizer(problem):
  """Names the learning rate, who chose it, and the weight decay."""
  rates = {tuning.learning_rate(m): m for m in problem.methods.values()}
  text = "learning rates that the table of settings gives"
  if len(rates) == 1:
    text = f"learning rate {next(iter(rates)):g}"
    if tuning.is_tuned(problem.base):
      text += " (chosen by the validation loss of the uniform model)"
  return f"{text} and weight decay {problem.base.run.config['weight_decay']:g}"


def _scale_choice(config):
  tried = tuning.scales(config)
  if len(tried) == 1:
    return "not tuned"
  tried = ", ".join(tried)
  return f"chosen from {tried} by the validation loss of the uniform model"


def question(problems: Sequence[study_lib.Problem]) -> str:
  """Returns the heading of the advice."""
  balanced = study_lib.has_balance(problems)
  return "Which method to use" if balanced else "Which weighting to use"


def markdown(problems: Sequence[study_lib.Problem]) -> str:
  """Writes the advice and all tables of a study as one Markdown text."""
  blocks = [f"# {question(problems)}", *overall.paragraphs(problems)]
  blocks += recommendation.paragraphs(problems)
  blocks += recommendation.spread(problems)
  blocks += recommendation.limits(problems)
  blocks += ["# Results", tables.markdown(overview(problems))]
  blocks += [legend(problems)]
  for problem in problems:
    blocks += [
      f"## {problem.name}",
      tables.markdown(rows(problem)),
      "\n".join(f"- {line}" for line in held_fixed(problem)),
      f"Settings, chosen by the validation loss:\n\n"
      f"{tables.markdown(tuning.rows(problem))}",
    ]
    shares = imbalance.rows(problem)
    if shares:
      blocks += [imbalance.LEGEND, tables.markdown(shares)]
  ranked = ranks(problems)
  if ranked:
    blocks += ["## Ranks over all data sets", tables.markdown(ranked)]
  return "\n\n".join(blocks) + "\n"


def latex(problems: Sequence[study_lib.Problem]) -> str:
  """Writes one LaTeX table (booktabs) per problem, for other documents."""
  blocks = []
  for problem in problems:
    lines = rows(problem)
    text = tabulate.tabulate(
      lines, headers="keys", tablefmt="latex_booktabs", disable_numparse=True
    )
    for symbol, command in _SYMBOLS.items():
      text = text.replace(symbol, command)
    blocks.append(
      "\\begin{table}\n\\centering\\small\n"
      f"\\caption{{{_escape(problem.name)}}}\n{text}\n\\end{{table}}"
    )
  return (
    "% In the preamble: \\usepackage{booktabs,amssymb}\n"
    + "\n\n".join(blocks)
    + "\n"
  )


def _escape(text):
  """Replaces LaTeX's special characters by commands that print them."""
  return re.sub(r"[\\{}$&#%_^~]", lambda match: rf"\char`\{match[0]}{{}}", text)


def to_csv(problems: Sequence[study_lib.Problem]) -> str:
  """Writes all numbers as CSV: one row per problem, method and metric."""
  rows = []
  for problem in problems:
    comparisons = problem.all_comparisons
    for name, method in {**problem.methods, **problem.baselines}.items():
      choice = method.row.get("choice", {})
      for metric, values in method.row["metrics"].items():
        rows.append(
          {
            "problem": problem.name,
            "weighting": name,
            **{k: choice.get(k) for k in ("variant", "strength", "scale")},
            "metric": metric,
            "mean": f"{np.mean(values):.6g}",
            "std": f"{np.std(values, ddof=min(1, len(values) - 1)):.6g}",
            **_test_fields(comparisons.get((name, metric))),
          }
        )
  return csv_text.write(_FIELDS, rows)


_FIELDS = (
  "problem", "weighting", "variant", "strength", "scale", "metric", "mean",
  "std", "gain", "low", "high", "p", "p_corrected", "spread",
  "spread_p_corrected",
)  # fmt: skip


def _test_fields(comparison) -> Mapping[str, Any]:
  if comparison is None:
    return {}
  numbers = {
    "gain": comparison.gain,
    "low": comparison.interval[0],
    "high": comparison.interval[1],
    "p": comparison.p_value,
    "p_corrected": comparison.corrected,
    "spread": comparison.spread,
    "spread_p_corrected": comparison.spread_corrected,
  }
  return {k: "" if v is None else f"{v:.6g}" for k, v in numbers.items()}
