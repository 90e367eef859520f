"""The summary of a data set as tables."""

from collections.abc import Mapping
from typing import Any

import tabulate

from btw_jax.reports import overview

# More labels than this are told by their number.
_MANY = 10


def text(summary: Mapping[str, Any]) -> str:
  """Tables of splits and modalities, and what is odd.

  Args:
    summary: of `describe.describe`.

  Returns:
    Lines for a terminal.
  """
  parts = [_splits(summary), _modalities(summary)]
  odd = overview.odd(summary)
  return "\n\n".join([*parts, *(["\n".join(odd)] if odd else [])])


def _splits(summary):
  rows = [
    [split, f"{own['examples']:,}", _labels(own["labels"], summary["task"])]
    for split, own in summary["splits"].items()
  ]
  return tabulate.tabulate(
    rows,
    ["split", "examples", f"labels ({summary['task']})"],
    tablefmt="github",
    disable_numparse=True,
  )


def _labels(labels, task):
  if task == "regression":
    return f"{labels['mean']:.3g} ± {labels['std']:.3g}"
  counts = [f"{label}: {count}" for label, count in labels.items()]
  more = f", ... {len(counts)} labels" if len(counts) > _MANY else ""
  return ", ".join(counts[:_MANY]) + more


def _modalities(summary):
  rows = []
  for modality, own in summary["modalities"].items():
    for split, found in own["splits"].items():
      rows.append(
        [
          modality,
          own["shape"],
          f"{found['median length']:g}" if "median length" in found else "",
          split,
          f"{100 * found['missing']:.1f}",
          f"{found['mean']:.3g} ± {found['std']:.3g}",
          found["constant columns"] or "",
          found["replaced"] or "",
        ]
      )
  heads = [
    "modality", "most", "median steps", "split", "missing %", "mean ± std",
    "constant columns", "values replaced",
  ]  # fmt: skip
  return tabulate.tabulate(
    rows, heads, tablefmt="github", disable_numparse=True
  )
