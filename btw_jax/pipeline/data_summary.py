"""The summary of a data set, formatted as tables."""

from collections.abc import Mapping
from typing import Any

import tabulate

from btw_jax.reports import overview

# At most this many labels are listed; after them comes their number.
_MAX_LABELS = 10


def text(summary: Mapping[str, Any]) -> str:
  """Formats a summary of `describe.describe` as tables, then warnings."""
  blocks = [_splits_table(summary), _modalities_table(summary)]
  warnings = overview.list_warnings(summary)
  return "\n\n".join([*blocks, *(["\n".join(warnings)] if warnings else [])])


def _splits_table(summary):
  rows = [
    [split, f"{s['examples']:,}", _labels(s["labels"], summary["task"])]
    for split, s in summary["splits"].items()
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
  more = f", ... {len(counts)} labels" if len(counts) > _MAX_LABELS else ""
  return ", ".join(counts[:_MAX_LABELS]) + more


def _modalities_table(summary):
  rows = []
  for modality, description in summary["modalities"].items():
    for split, s in description["splits"].items():
      rows.append(
        [
          modality,
          description["shape"],
          f"{s['median length']:g}" if "median length" in s else "",
          split,
          f"{100 * s['missing']:.1f}",
          f"{s['mean']:.3g} ± {s['std']:.3g}",
          s["constant columns"] or "",
          s["replaced"] or "",
        ]
      )
  heads = [
    "modality", "largest shape", "median steps", "split", "missing %",
    "mean ± std", "constant columns", "replaced values",
  ]  # fmt: skip
  return tabulate.tabulate(
    rows, heads, tablefmt="github", disable_numparse=True
  )
