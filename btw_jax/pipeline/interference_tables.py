"""Tables of modality interference, from the rows that were measured."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from btw_jax.reports import tables as tables_lib

_MISLEADING = "mismatch"


class _Words(NamedTuple):
  """The words of a task on what an intervention does to its predictions.

  Attributes:
    changed: the share of predictions that change.
    score: the score before and after.
    kinds: kind of intervention -> how it replaces a modality.
  """

  changed: str
  score: str
  kinds: Mapping[str, str]


_WORDS = {
  "accuracy": _Words(
    "changes {:.1f} % of decisions",
    "accuracy {:.1f} % → {:.1f} %",
    {_MISLEADING: "taken from another class", "noise": "replaced by noise"},
  ),
  "mae": _Words(
    "moves {:.1f} % of predictions across the training mean",
    "MAE {:.3f} → {:.3f} in the unit of the target",
    {
      _MISLEADING: "taken from an example on the other side",
      "noise": "replaced by noise",
    },
  ),
}


def misleading(effects: Sequence[Mapping[str, Any]], unit: str) -> list[str]:
  """Writes a line per modality on how much it misleads the first model.

  Args:
    effects: of `interference.measure`.
    unit: "accuracy" or "mae".

  Returns:
    Lines on mismatches and noise, in the order of the larger share that the two
    change; no lines if neither was measured.
  """
  kinds = _WORDS[unit].kinds
  by_modality = {}
  for row in effects:
    if row["model"] == effects[0]["model"] and row["kind"] in kinds:
      by_modality.setdefault(row["modality"], []).append(row)

  def share(row):
    return np.mean(row["flipped"]["seeds"])

  lines = []
  for modality, rows in sorted(
    by_modality.items(), key=lambda item: -max(map(share, item[1]))
  ):
    rows = sorted(rows, key=share, reverse=True)
    texts = [_misleading_text(row, unit) for row in rows]
    lines.append(f"{modality}: {'; '.join(texts)}")
  return lines


def _misleading_text(row, unit):
  """Says which share an intervention changes, and how the score changes."""
  words, factor = _WORDS[unit], tables_lib.COLUMNS[unit].factor
  share, before, after = (
    np.mean(row[field]["seeds"]) for field in ("flipped", "before", "after")
  )
  return (
    f"{words.changed.format(100 * share)} when {words.kinds[row['kind']]}"
    f" ({words.score.format(factor * before, factor * after)})"
  )


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
