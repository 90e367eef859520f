"""The result tables of a study, as Markdown, LaTeX and CSV."""

from collections.abc import Mapping, Sequence
import csv
import io
import re
from typing import Any

import numpy as np
import tabulate

from btw_jax.reports import recommendation
from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables

_MARKS = {1: " ▲", 0: "", -1: " ▼"}
# Characters that LaTeX prints only as mathematical commands.
_SYMBOLS = {
  "±": r"$\pm$",
  "Δ": r"$\Delta$",
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
    " the same correction)."
  )


def rows(problem: study_lib.Problem) -> list[dict[str, str]]:
  """Returns a row, heading -> cell, for every baseline and method."""
  lines = []
  base = problem.base.name
  ordered = {base: problem.base, **problem.baselines, **problem.methods}
  comparisons = {**problem.comparisons, **problem.baseline_comparisons}
  for name, method in ordered.items():
    line = {"weighting": _label(method)}
    for metric in problem.metrics:
      column = tables.COLUMNS[metric]
      line[column.heading] = column.mean_std(method.row["metrics"][metric])
      line[f"Δ {column.heading}"] = _difference(comparisons.get((name, metric)))
    ece = tables.COLUMNS["ece"]
    line[ece.heading] = ece.mean_std(method.row["metrics"]["ece"])
    line["spread"] = _spread(comparisons.get((name, problem.unit)))
    lines.append(line)
  return lines


def _label(method):
  """Returns a method's name, with its choice if it had several candidates."""
  choice = method.row.get("choice")
  if choice is None:
    return method.name
  chosen = choice["variant"]
  if chosen == study_lib.GATE:
    return f"{method.name} (without {', '.join(choice['closed'])})"
  if method.row["candidates"] == 1 and method.weighting != study_lib.GATE:
    return method.name
  if chosen != study_lib.BASE:
    chosen += f", λ = {choice['strength']:g}"
  return f"{method.name} ({chosen})"


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
  """Returns two rows per problem, one per metric: the change by each method."""
  names = dict.fromkeys(m.name for p in problems for m in p.others)
  lines = []
  for problem in problems:
    for metric in problem.metrics:
      column, base = tables.COLUMNS[metric], problem.base
      line = {
        "data": problem.name if metric == problem.unit else "",
        "metric": column.heading,
        base.name: column.mean_std(base.row["metrics"][metric]),
      }
      for name in names:
        comparison = problem.comparisons.get((name, metric))
        line[f"Δ {name}"] = ""
        if comparison is not None:
          change, _, _ = column.change(comparison.gain, comparison.interval)
          line[f"Δ {name}"] = change + _MARKS[comparison.verdict]
      lines.append(line)
  return lines


def ranks(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Averages the ranks over problems of the methods that all problems have.

  Returns:
    Rows, heading -> cell, the best method first; no rows for a single problem.
  """
  names = [
    name for name in problems[0].methods
    if all(name in p.methods for p in problems)
  ]  # fmt: skip
  if len(problems) < 2 or len(names) < 2:
    return []
  columns = {}
  for place, metric in enumerate((study_lib.name_units(problems), "NLL")):
    heading = f"mean rank by {metric}"
    scores = np.array(
      [[_score(p, name, p.metrics[place]) for name in names] for p in problems]
    )
    columns[heading] = statistics.mean_ranks(scores)
    p_value = statistics.friedman_p_value(scores)
    if p_value is not None:
      with_test = f"{heading} (Friedman test: {tables.p_text(p_value)})"
      columns[with_test] = columns.pop(heading)
  order = np.argsort(next(iter(columns.values())), kind="stable")
  return [
    {"weighting": names[i], **{k: f"{v[i]:.2f}" for k, v in columns.items()}}
    for i in order
  ]


def _score(problem, name, metric):
  """Returns a method's mean metric; higher is better."""
  values = problem.methods[name].row["metrics"][metric]
  return tables.COLUMNS[metric].sign * np.mean(values)


def held_fixed(problem: study_lib.Problem) -> list[str]:
  """Returns sentences on the settings that the methods of a problem share."""
  results, config = problem.base.run.results, problem.base.run.config
  sizes, seeds = results["sizes"], results["seeds"]
  scales = config["embedding_scale"]
  tried = scales.replace("auto", "1,0.5,0.25").replace(",", ", ")
  tuned = "," in tried
  # A run of `btw_jax.fit` may have no test split.
  names = {"train": "training", "valid": "validation", "test": "test"}
  *others, last = (split for split in names if split in sizes)
  counts = ", ".join(f"{sizes[split]:,} {names[split]}" for split in others)
  counts += f" and {tables.quantity(sizes[last], f'{names[last]} example')}"
  sentences = [
    f"Data: {counts}; modalities:"
    f" {', '.join(results['modalities'])}. For each seed, all methods use the"
    " same splits.",
    f"Seeds: {seeds[0]} to {seeds[-1]}. For each seed, all methods use the same"
    " initial parameters, batches and dropout.",
    f"Training: {tables.quantity(config['num_epochs'], 'epoch')}, batch size"
    f" {config['batch_size']}, AdamW with learning rate"
    f" {config['learning_rate']:g} and weight decay {config['weight_decay']:g},"
    f" dropout rate {config['dropout']:g}. The epoch with the lowest validation"
    " loss is kept.",
    f"Embedding scale: {results['embedding_scale']:g} for every method, "
    + (
      f"chosen from {tried} by the validation loss of the uniform model."
      if tuned
      else "not tuned."
    ),
    "Candidates from which the validation loss chose: "
    + "; ".join(
      f"{_candidates(m, len(tried.split(',')) if tuned else 1)} for {name}"
      for name, m in problem.methods.items()
    )
    + ". All settings use the embedding scale of uniform.",
  ]
  mitigations = {tuple(m.run.config["mitigation"]) for m in
                 problem.methods.values()}  # fmt: skip
  if mitigations != {()}:
    sentences.append(
      "Mitigation: methods with a mitigation also train on perturbed copies or"
      " embeddings, so each training step needs more computation."
    )
  return sentences


def _candidates(method, num_scales):
  number = method.row["candidates"]
  if method.weighting == study_lib.BASE:
    return tables.quantity(num_scales, "embedding scale")
  return tables.quantity(number, "setting")


def markdown(problems: Sequence[study_lib.Problem]) -> str:
  """Writes the advice and all tables of a study as one Markdown text."""
  blocks = ["# Which weighting to use"]
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
    ]
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
  text = io.StringIO(newline="")
  writer = csv.DictWriter(text, _FIELDS)
  writer.writeheader()
  for problem in problems:
    comparisons = {**problem.comparisons, **problem.baseline_comparisons}
    for name, method in {**problem.methods, **problem.baselines}.items():
      choice = method.row.get("choice", {})
      for metric, values in method.row["metrics"].items():
        writer.writerow(
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
  return text.getvalue()


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
