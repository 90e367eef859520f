"""The tables of a study: Markdown, LaTeX, and figures for other programs."""

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
LEGEND = (
  "Mean ± standard deviation over seeds. Δ is the mean paired difference to the"
  " first row with its 95 % bootstrap interval; ▲ is better and ▼ worse beyond"
  " chance (paired permutation test, p < .05 by Holm's correction for the"
  " methods of the table). Spread is the standard deviation of decisions"
  " relative to the first row's; * differs by Brown and Forsythe's test,"
  " likewise corrected."
)
# What LaTeX sets as mathematics.
_SYMBOLS = {
  "±": r"$\pm$",
  "Δ": r"$\Delta$",
  "λ": r"$\lambda$",
  "▲": r"$\blacktriangle$",
  "▼": r"$\blacktriangledown$",
}


def rows(problem: study_lib.Problem) -> list[dict[str, str]]:
  """A row for every method of a problem.

  Args:
    problem: of a study.

  Returns:
    Heading -> cell.
  """
  lines = []
  for name, method in problem.methods.items():
    line = {"weighting": _label(method)}
    for metric in problem.metrics:
      column = tables.COLUMNS[metric]
      line[column.heading] = column.mean_std(method.row["metrics"][metric])
      line[f"Δ {column.heading}"] = _difference(
        problem.comparisons.get((name, metric))
      )
    ece = tables.COLUMNS["ece"]
    line[ece.heading] = ece.mean_std(method.row["metrics"]["ece"])
    line["spread"] = _spread(problem.comparisons.get((name, problem.unit)))
    lines.append(line)
  return lines


def _label(method):
  """What it is, and what it chose if it chose."""
  choice = method.row["choice"]
  if method.row["candidates"] == 1:
    return method.name
  chosen = choice["variant"]
  if chosen != study_lib.BASE:
    chosen += f", λ = {choice['strength']:g}"
  return f"{method.name} ({chosen})"


def _difference(comparison):
  if comparison is None:
    return ""
  column = tables.COLUMNS[comparison.metric]
  mean, low, high = column.gain(comparison.gain, comparison.interval)
  return f"{mean} [{low}, {high}]{_MARKS[comparison.verdict]}"


def _spread(comparison):
  if comparison is None or comparison.spread is None:
    return ""
  mark = "*" if comparison.spread_corrected < study_lib.LEVEL else ""
  return f"{comparison.spread:.2f}{mark}"


def overview(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Two rows for every problem: what each method changes.

  Args:
    problems: of a study.

  Returns:
    Heading -> cell.
  """
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
        found = problem.comparisons.get((name, metric))
        line[f"Δ {name}"] = ""
        if found is not None:
          change, _, _ = column.gain(found.gain, found.interval)
          line[f"Δ {name}"] = change + _MARKS[found.verdict]
      lines.append(line)
  return lines


def ranks(problems: Sequence[study_lib.Problem]) -> list[dict[str, str]]:
  """Mean ranks over problems of the methods that all of them have.

  Args:
    problems: of a study.

  Returns:
    Rows, the best first; none for a single problem.
  """
  names = [
    name for name in problems[0].methods
    if all(name in p.methods for p in problems)
  ]  # fmt: skip
  if len(problems) < 2 or len(names) < 2:
    return []
  found = {}
  for place, heading in enumerate(("rank by decisions", "rank by NLL")):
    scores = np.array(
      [[_score(p, name, p.metrics[place]) for name in names] for p in problems]
    )
    found[heading] = statistics.mean_ranks(scores)
    p_value = statistics.friedman_p_value(scores)
    if p_value is not None:
      heading_p = f"{heading} (Friedman {recommendation.p_text(p_value)})"
      found[heading_p] = found.pop(heading)
  order = np.argsort(next(iter(found.values())), kind="stable")
  return [
    {"weighting": names[i], **{k: f"{v[i]:.2f}" for k, v in found.items()}}
    for i in order
  ]


def _score(problem, name, metric):
  values = problem.methods[name].row["metrics"][metric]
  return tables.COLUMNS[metric].sign * np.mean(values)


def held_fixed(problem: study_lib.Problem) -> list[str]:
  """What all methods of a problem have in common, and what not.

  Args:
    problem: of a study.

  Returns:
    Sentences.
  """
  results, config = problem.base.cell.results, problem.base.cell.config
  sizes, seeds = results["sizes"], results["seeds"]
  scales = config["embedding_scale"]
  tried = scales.replace("auto", "1,0.5,0.25").replace(",", ", ")
  tuned = "," in tried
  found = [
    f"Data: {sizes['train']} examples to train, {sizes['valid']} to validate,"
    f" {sizes['test']} to test, of {', '.join(results['modalities'])}; the same"
    " splits for every method of a seed.",
    f"Seeds {seeds[0]} to {seeds[-1]}: the same initial parameters, batches and"
    " dropout for every method of a seed.",
    f"Budget: {config['num_epochs']} epochs of batches of"
    f" {config['batch_size']}, AdamW at {config['learning_rate']:g}, weight"
    f" decay {config['weight_decay']:g}, dropout {config['dropout']:g}; the"
    " epoch of least validation loss is kept.",
    f"Embedding scale: {results['embedding_scale']:g} for every method,"
    + (
      f" chosen from {tried} for the uniform model by validation loss."
      if tuned
      else " not tuned."
    ),
    "Candidates that validation chose from: "
    + "; ".join(
      f"{name} {_candidates(m, len(tried.split(',')) if tuned else 1)}"
      for name, m in problem.methods.items()
    )
    + ".",
  ]
  mitigations = {tuple(m.cell.config["mitigation"]) for m in
                 problem.methods.values()}  # fmt: skip
  if mitigations != {()}:
    found.append(
      "Mitigation: methods with one see perturbed copies or embeddings as well,"
      " hence compute more per step."
    )
  return found


def _candidates(method, num_scales):
  number = method.row["candidates"]
  if method.weighting == study_lib.BASE:
    return f"{num_scales} (scales)"
  return f"{number} (at the scale of uniform)"


def markdown(problems: Sequence[study_lib.Problem]) -> str:
  """Everything as one text.

  Args:
    problems: of a study.

  Returns:
    Markdown.
  """
  parts = ["# Which weighting to use"]
  parts += recommendation.paragraphs(problems)
  parts += [recommendation.spread(problems)]
  parts += recommendation.limits(problems)
  parts += ["# Results", tables.markdown(overview(problems))]
  parts += [LEGEND]
  for problem in problems:
    parts += [
      f"## {problem.name}",
      tables.markdown(rows(problem)),
      "\n".join(f"- {line}" for line in held_fixed(problem)),
    ]
  ranked = ranks(problems)
  if ranked:
    parts += ["## Over all data sets", tables.markdown(ranked)]
  return "\n\n".join(parts) + "\n"


def latex(problems: Sequence[study_lib.Problem]) -> str:
  """One table with booktabs, that other documents can include.

  Args:
    problems: of a study.

  Returns:
    LaTeX.
  """
  found = []
  for problem in problems:
    lines = rows(problem)
    text = tabulate.tabulate(
      lines, headers="keys", tablefmt="latex_booktabs", disable_numparse=True
    )
    for symbol, command in _SYMBOLS.items():
      text = text.replace(symbol, command)
    found.append(
      "\\begin{table}\n\\centering\\small\n"
      f"\\caption{{{_escape(problem.name)}}}\n{text}\n\\end{{table}}"
    )
  return (
    "% In the preamble: \\usepackage{booktabs,amssymb}\n"
    + "\n\n".join(found)
    + "\n"
  )


def _escape(text):
  """What LaTeX prints as it stands."""
  return re.sub(r"[\\{}$&#%_^~]", lambda found: rf"\char`\{found[0]}{{}}", text)


def figures(problems: Sequence[study_lib.Problem]) -> str:
  """All figures as CSV: a row per problem, method and metric.

  Args:
    problems: of a study.

  Returns:
    CSV.
  """
  text = io.StringIO(newline="")
  writer = csv.DictWriter(text, _FIELDS)
  writer.writeheader()
  for problem in problems:
    for name, method in problem.methods.items():
      for metric, values in method.row["metrics"].items():
        writer.writerow(
          {
            "problem": problem.name,
            "weighting": name,
            "variant": method.row["choice"]["variant"],
            "strength": method.row["choice"]["strength"],
            "scale": method.row["choice"]["scale"],
            "metric": metric,
            "mean": f"{np.mean(values):.6g}",
            "std": f"{np.std(values, ddof=min(1, len(values) - 1)):.6g}",
            **_tested(problem.comparisons.get((name, metric))),
          }
        )
  return text.getvalue()


_FIELDS = (
  "problem", "weighting", "variant", "strength", "scale", "metric", "mean",
  "std", "gain", "low", "high", "p", "p_corrected", "spread",
  "spread_p_corrected",
)  # fmt: skip


def _tested(comparison) -> Mapping[str, Any]:
  if comparison is None:
    return {}
  figures = {
    "gain": comparison.gain,
    "low": comparison.interval[0],
    "high": comparison.interval[1],
    "p": comparison.p_value,
    "p_corrected": comparison.corrected,
    "spread": comparison.spread,
    "spread_p_corrected": comparison.spread_corrected,
  }
  return {k: "" if v is None else f"{v:.6g}" for k, v in figures.items()}
