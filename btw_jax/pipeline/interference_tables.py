"""Tables of modality interference, from the rows that were measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from btw_jax.reports import tables as tables_lib

_MISLEADING = "mismatch"


def tables(
  measured: Mapping[str, Sequence[Mapping[str, Any]]], unit: str
) -> dict[str, list[dict[str, str]]]:
  """Makes the rows of three tables: means over seeds.

  Args:
    measured: of `interference.measure`.
    unit: "accuracy" or "mae".

  Returns:
    summary, a row per model, with the share that it closes of the first
    model's loss by mismatches; effects, a row per model, modality and
    intervention; competence, a row per model and modality.
  """
  return {
    "summary": _summary(measured["effects"], unit),
    "effects": [_effect_row(row, unit) for row in measured["effects"]],
    "competence": _competence(measured["competence"], unit),
  }


def _summary(rows, unit):
  """Averages over modalities, with paired differences to the first model."""
  column = tables_lib.COLUMNS[unit]
  by_model, lines = {}, []
  for row in rows:
    kinds = by_model.setdefault(row["model"], {"clean": []})
    kinds["clean"].append(row["before"]["seeds"])
    kinds.setdefault(row["kind"], []).append(row["after"]["seeds"])
  by_model = {
    name: {kind: np.mean(scores, axis=0) for kind, scores in kinds.items()}
    for name, kinds in by_model.items()
  }
  first = next(iter(by_model.values()))
  for name, scores in by_model.items():
    line = {"model": name}
    for kind, values in scores.items():
      text = column.mean_std(values)
      if lines:
        change = column.difference(values, first[kind])
        text += f" ({change})"
      line[f"{column.heading}, clean" if kind == "clean" else kind] = text
    if _MISLEADING in scores:
      line["gap closed %"] = _gap_closed(scores, first) if lines else ""
    lines.append(line)
  return lines


def _gap_closed(scores, first):
  """Returns the share of the first model's loss to mismatches avoided."""
  gap = np.mean(first["clean"] - first[_MISLEADING])
  gained = np.mean(scores[_MISLEADING] - first[_MISLEADING])
  return f"{100 * gained / gap:.0f}" if gap else ""


def _effect_row(row, unit):
  heading, factor, digits, _ = tables_lib.COLUMNS[unit]
  weights = [f"{np.mean(w):.3f}" for w in row["weight"]]
  return {
    "model": row["model"],
    "modality": row["modality"],
    "instead": row["kind"],
    f"{heading} before": _with_interval(row["before"], factor, digits),
    "after": _with_interval(row["after"], factor, digits),
    "flipped %": _with_interval(row["flipped"], 100.0, 1),
    "divergence, nats": _with_interval(row["divergence"], 1.0, 3),
    "weight": " → ".join(weights),
  }


def _with_interval(figure, factor, digits):
  low, high = (factor * end for end in figure["interval"])
  mean = factor * np.mean(figure["seeds"])
  return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _competence(rows, unit):
  column = tables_lib.COLUMNS[unit]
  lines = {}
  for row in rows:
    cells = {
      name: column.mean_std(row[name]) for name in ("before", "after", "alone")
    }
    line = lines.setdefault(
      (row["model"], row["modality"]),
      {
        "model": row["model"],
        "modality": row["modality"],
        f"{column.heading}, all": cells["before"],
        "its own model": cells["alone"],
      },
    )
    line[f"others: {row['kind']}"] = cells["after"]
  return list(lines.values())
