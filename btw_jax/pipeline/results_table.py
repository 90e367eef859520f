"""The table of a run, as text and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tabulate

from btw_jax.reports import tables as tables_lib

_SENTIMENT = (
  "mae", "pearson", "acc_7", "acc_5", "acc_2_has0", "acc_2_non0",
  "f1_2_has0", "f1_2_non0",
)  # fmt: skip


def tables(results: Mapping[str, Any], *, style: str = "simple") -> str:
  """The metrics of every model, then the mean weights.

  Args:
    results: what `results.json` holds.
    style: a table format of `tabulate`.

  Returns:
    Both tables, with a line on what was held fixed above.
  """
  parts = [describe(results), _metrics_table(results, style)]
  if "acc_7" in results["rows"][0]["metrics"]:
    parts.append(_sentiment_table(results, style))
  parts.append(_weights_table(results, style))
  return "\n\n".join(parts)


def describe(results: Mapping[str, Any]) -> str:
  """One line: data, sizes, seeds, scale, mitigation.

  Args:
    results: what `results.json` holds.

  Returns:
    The line.
  """
  sizes = results["sizes"]
  split = results["split"]
  evaluated = f"{sizes[split]} {split} examples" if split in sizes else split
  mitigation = ""
  # What an earlier version left has none.
  if results.get("mitigation"):
    mitigation = f", mitigation: {', '.join(results['mitigation'])}"
  return (
    f"{results['dataset']}, {results['task']}:"
    f" {len(results['modalities'])} modalities,"
    f" {sizes['train']} examples to train, {sizes['valid']} to validate;"
    f" {evaluated}, {len(results['seeds'])} seeds,"
    f" embedding scale {results['embedding_scale']:g}{mitigation}"
  )


def summary(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
  """A row per run: what every weighting adds to the uniform model.

  Args:
    runs: name of each, and what its `results.json` holds.

  Returns:
    The table, in Markdown.
  """
  lines = []
  for name, results in runs:
    unit = results["unit"]
    column = tables_lib.COLUMNS[unit]
    by_name = {row["name"]: row for row in results["rows"]}
    base = by_name["uniform"]
    line = {
      "recipe": name,
      "scale": f"{results['embedding_scale']:g}",
      "metric": column.heading,
      "uniform": column.mean_std(base["metrics"][unit]),
    }
    for row in results["rows"]:
      if row["kind"] == "weighting" and row is not base:
        line[f"Δ {row['name']}"] = _difference(row, base, unit)
    auto = by_name["auto"]
    line["Δ auto, NLL"] = _difference(auto, base, "nll")
    line["auto chose"] = _choice(auto)
    lines.append(line)
  return tables_lib.markdown(lines)


def _metrics_table(results, style):
  unit = results["unit"]
  shown = [unit, "nll", "ece"]
  heads = [tables_lib.COLUMNS[m].heading for m in shown]
  deltas = [unit, "nll"]
  base = next((r for r in results["rows"] if r["name"] == "uniform"), None)
  lines = []
  for row in results["rows"]:
    cells = [tables_lib.COLUMNS[m].mean_std(row["metrics"][m]) for m in shown]
    for metric in deltas:
      compare = base is not None and row["kind"] == "weighting"
      compare = compare and row is not base
      cells.append(_difference(row, base, metric) if compare else "")
    lines.append([_label(row), *cells])
  heads += [f"Δ {tables_lib.COLUMNS[m].heading}" for m in deltas]
  return tabulate.tabulate(lines, ["", *heads], tablefmt=style)


def _sentiment_table(results, style):
  lines = [
    [
      _label(row),
      *(tables_lib.mean_std(row["metrics"][m], 1.0, 3) for m in _SENTIMENT),
    ]
    for row in results["rows"]
  ]
  return tabulate.tabulate(lines, ["", *_SENTIMENT], tablefmt=style)


def _weights_table(results, style):
  lines = [
    [row["name"], *(f"{np.mean(w):.3f}" for w in row["weights"].values())]
    for row in results["rows"]
    if row["kind"] == "weighting"
  ]
  heads = ["mean weight", *results["modalities"]]
  return tabulate.tabulate(lines, heads, tablefmt=style, disable_numparse=True)


def _label(row):
  """A weighting that chose for itself says what."""
  if row["kind"] == "modality":
    return f"{row['name']} alone"
  found = _choice(row)
  asked = (row["name"], f"{row['name']}, λ = 1")
  return row["name"] if found in asked else f"{row['name']} ({found})"


def _choice(row):
  choice = row["choice"]
  if choice["variant"] == "uniform":
    return "uniform"
  return f"{choice['variant']}, λ = {choice['strength']:g}"


def _difference(row, base, metric):
  values = (r["metrics"][metric] for r in (row, base))
  return tables_lib.COLUMNS[metric].difference(*values)
