"""Plots of the interactions (PID) of an audit."""

from collections.abc import Mapping
import functools
from typing import Any

import numpy as np

from btw_jax.reports import named_rows
from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports.audit import interactions as audit_interactions


def drawings(content: Mapping[str, Any]) -> list[svg.Drawing]:
  """Returns two panels for each group of decompositions.

  The first panel stacks the atoms, those below 0 to the left of 0; the second
  shows each atom with its interval.
  """
  made = []
  groups = audit_interactions.group(content)
  for number, group in enumerate(groups, 1):
    suffix = f"_{number}" if len(groups) > 1 else ""
    names, atoms = _bars(group)
    labels = _label_atoms(group.rows)
    gap = audit_interactions.largest_gap(group.rows)
    sources = named_rows.label(group.sources or "both sources", 28)
    stack = functools.partial(_stack, atoms, labels)
    parts = functools.partial(_draw_intervals, atoms, labels, gap)
    for file, title, plot in (
      ("interactions", f"information from {sources}", stack),
      ("parts", f"parts, with intervals: {sources}", parts),
    ):
      file += suffix
      made.append(named_rows.drawing(file, title, names, plot, row_height=0.45))
  return made


def _bars(group):
  """Returns the lines of the name, and the atoms, of each bar."""
  names, atoms = [], []
  for row in group.rows:
    lines = [audit_interactions.name_task(row)]
    if not group.sources:
      lines = [f"{row['first']} and {row['second']}"]
      lines += [f"given {row['control']}"] if row["control"] else []
    for version, values in audit_interactions.versions(row):
      is_first = version == audit_interactions.AS_READ
      names.append(lines if is_first else [f"↳ {version}"])
      atoms.append(values)
  return names, atoms


def _label_atoms(rows):
  """Returns atom -> label in the legend; the word comes first.

  A label that began with an underscore would not be shown.
  """
  names = {(row["first"], row["second"]) for row in rows}
  first, second = names.pop() if len(names) == 1 else ("first", "second")
  return {
    "redundant": "redundant: either",
    "unique1": f"unique: {named_rows.label(first, 16)}",
    "unique2": f"unique: {named_rows.label(second, 16)}",
    "synergistic": "synergistic: only both",
  }


def _stack(atoms, labels, ax):
  ends = {1: np.zeros(len(atoms)), -1: np.zeros(len(atoms))}
  for number, (atom, label) in enumerate(labels.items()):
    means = np.array([values[atom]["mean"] for values in atoms])
    starts = np.where(means < 0, ends[-1], ends[1])
    ax.barh(
      range(len(atoms)), means, 0.7, starts, label=label, **palette.bar(number)
    )
    for sign, end in ends.items():
      end += np.where(sign * means > 0, means, 0.0)
  ax.axvline(0, color=palette.LIGHT.ink, linewidth=0.8)
  ax.set_xlabel("information, nats")


def _draw_intervals(atoms, labels, gap, ax):
  ax.axvspan(-gap, gap, color=palette.LIGHT.soft, linewidth=0.8)
  for number, (atom, label) in enumerate(labels.items()):
    places = np.arange(len(atoms)) + 0.2 * (number - 1.5)
    style = {**palette.line(number), "linestyle": "none"}
    means = np.array([values[atom]["mean"] for values in atoms])
    ends = [audit_interactions.limits(values[atom]) for values in atoms]
    # The mean of resampled means may lie beside that of few questions.
    lengths = np.abs(np.transpose(ends) - means)
    ax.errorbar(
      means,
      places,
      xerr=lengths,
      label=label,
      capsize=2,
      **style,
    )
  for border in range(1, len(atoms)):
    ax.axhline(border - 0.5, color=palette.LIGHT.soft, linewidth=0.3)
  bound = audit_interactions.format_gap(gap)
  ax.set_xlabel(f"information, nats\ngap at most {bound}")
