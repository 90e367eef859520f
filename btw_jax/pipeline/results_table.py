"""The result tables of a run, as text or Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tabulate

from btw_jax.reports import labels
from btw_jax.reports import tables as tables_lib

_SENTIMENT = (
  "mae", "pearson", "acc_7", "acc_5", "acc_2_has0", "acc_2_non0",
  "f1_2_has0", "f1_2_non0",
)  # fmt: skip
_SPLITS = {"train": "training", "valid": "validation", "test": "test"}


def tables(results: Mapping[str, Any], *, style: str = "simple") -> str:
  """Formats the content of `results.json`: a line on the run, then tables.

  `style` is a table format of `tabulate`.
  """
  blocks = [describe(results), _metrics_table(results, style)]
  if "acc_7" in results["rows"][0]["metrics"]:
    blocks.append(_sentiment_table(results, style))
  blocks.append(_weights_table(results, style))
  if results.get("information"):
    blocks.append(_tests_table(results, style))
  return "\n\n".join(blocks)


def describe(results: Mapping[str, Any]) -> str:
  """Describes data, sizes, seeds, scale and mitigations of a run in a line."""
  sizes = results["sizes"]
  split = results["split"]
  evaluated = split
  if split in sizes:
    evaluated = tables_lib.quantity(sizes[split], f"{_SPLITS[split]} example")
  if results.get("data_dir"):
    evaluated += f" of {results['data_dir']}"
  elif split == "valid":
    evaluated += ", which chose the epochs"
  mitigation = ""
  # Results of earlier versions lack the field.
  if results.get("mitigation"):
    mitigation = f", mitigation: {', '.join(results['mitigation'])}"
  refit = ""
  if results.get("refit"):
    refit = " (refit: trained on both)"
  return (
    f"{results['dataset']}, {results['task']}:"
    f" {tables_lib.quantity(len(results['modalities']), 'modality')};"
    f" {tables_lib.quantity(sizes['train'], 'training example')},"
    f" {tables_lib.quantity(sizes['valid'], 'validation example')}{refit},"
    f" evaluated on {evaluated};"
    f" {tables_lib.quantity(len(results['seeds']), 'seed')},"
    f" embedding scale {results['embedding_scale']:g}{mitigation}"
  )


def summary(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
  """Formats a Markdown table of all weightings' differences to uniform.

  Each run, a name and the content of its `results.json`, becomes a row; a row
  that is already there, since the tuned scale may be 1, is left out.
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
    line["auto chose"] = labels.setting("auto", auto["choice"])
    if line not in lines:
      lines.append(line)
  return tables_lib.markdown(lines)


def _metrics_table(results, style):
  unit = results["unit"]
  shown = [unit, "nll", "ece"]
  heads = [tables_lib.COLUMNS[m].heading for m in shown]
  base = next((r for r in results["rows"] if r["name"] == "uniform"), None)
  deltas = [unit, "nll"] if base is not None else []
  lines = []
  for row in results["rows"]:
    cells = [tables_lib.COLUMNS[m].mean_std(row["metrics"][m]) for m in shown]
    for metric in deltas:
      compare = row["kind"] != "modality" and row is not base
      cells.append(_difference(row, base, metric) if compare else "")
    lines.append([_label(row), *cells])
  heads += [f"Δ {tables_lib.COLUMNS[m].heading}" for m in deltas]
  return tabulate.tabulate(
    lines, ["model", *heads], tablefmt=style, disable_numparse=True
  )


def _sentiment_table(results, style):
  lines = [
    [
      _label(row),
      *(tables_lib.mean_std(row["metrics"][m], 1.0, 3) for m in _SENTIMENT),
    ]
    for row in results["rows"]
  ]
  return tabulate.tabulate(lines, ["model", *_SENTIMENT], tablefmt=style)


def _weights_table(results, style):
  lines = [
    [row["name"], *(f"{np.mean(w):.3f}" for w in row["weights"].values())]
    for row in results["rows"]
    if row["kind"] == "weighting" and _has_weights(row)
  ]
  heads = ["mean weight", *results["modalities"]]
  return tabulate.tabulate(lines, heads, tablefmt=style, disable_numparse=True)


def _has_weights(row):
  """Returns whether a row's weights tell more than its name."""
  choice = row.get("choice", {})
  return not choice.get("balance") or choice["variant"] != "uniform"


def _tests_table(results, style):
  """Tabulates the tests of modalities: rises in nats, corrected p-values."""
  kinds = {
    "alone": "tells alone",
    "exchanged": "lost when exchanged",
    "absent": "lost when absent",
  }
  heads = ["modality"]
  for head in kinds.values():
    heads += [f"{head}, nats", "p-value"]
  lines = []
  for modality, tests in results["information"].items():
    cells = []
    for name in kinds:
      rise, error = tests[name]["rise"], tests[name]["error"]
      if error is None:
        cells += ["not tested", ""]
        continue
      p_value = tables_lib.p_text(tests[name]["corrected"]).removeprefix("p ")
      # Adding 0 turns −0 into 0.
      cells.append(f"{round(rise, 3) + 0.0:.3f} ± {error:.3f}")
      cells.append(p_value.removeprefix("= "))
    lines.append([modality, *cells, "yes" if tests["idle"] else ""])
  return tabulate.tabulate(
    lines, [*heads, "idle"], tablefmt=style, disable_numparse=True
  )


def _label(row):
  """Returns a model's name, with its setting if the name does not tell it."""
  if row["kind"] == "modality":
    return f"{row['name']} alone"
  if row["kind"] == "baseline":
    return row["name"]
  return labels.label(row["name"], row["name"], row)


def _difference(row, base, metric):
  values = (r["metrics"][metric] for r in (row, base))
  return tables_lib.COLUMNS[metric].difference(*values)
