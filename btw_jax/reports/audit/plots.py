"""Plots of an audit: small SVG panels with a row for every name."""

from collections.abc import Mapping
from typing import Any

from matplotlib import axes as axes_lib

from btw_jax.reports import named_rows
from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports.audit import interaction_plots
from btw_jax.reports.audit import sentences as audit_sentences
from btw_jax.reports.audit import tables as audit_tables


def draw(content: Mapping[str, Any]) -> dict[str, list[svg.Panel]]:
  """Draws all panels: name of a table -> the panels above it."""
  makers = {
    "conditions": _accuracy,
    "changes": _changes,
    "interactions": interaction_plots.drawings,
    "information": _information,
    "weights": _weights,
  }
  return {name: named_rows.draw(make(content)) for name, make in makers.items()}


def _accuracy(content):
  rows = [row for row in content["conditions"] if "accuracy" in row]
  if not rows:
    return []
  guess = audit_tables.guess_accuracy(content)

  def plot(ax):
    if guess is not None:
      ax.axvline(
        100 * guess, color=palette.LIGHT.soft, ls=":", label="random guesses"
      )
    for place, row in enumerate(rows):
      _draw_point(ax, place, row, "accuracy", palette.color(0), "o")
    ax.set_xlabel("accuracy, %")

  names = [[row["condition"]] for row in rows]
  title = "accuracy, 95 % interval"
  return [named_rows.drawing("accuracy", title, names, plot)]


def _changes(content):
  rows = [row for row in content["changes"] if "flipped" in row]
  known = [row for row in rows if "accuracy_change" in row]

  def plot_share(ax):
    for place, row in enumerate(rows):
      _draw_point(ax, place, row, "flipped", palette.color(0), "o")
    ax.set_xlim(left=0)
    ax.set_xlabel("decisions changed, %")

  def plot_accuracy(ax):
    ax.axvline(0, color=palette.LIGHT.soft, linewidth=1.2, linestyle=":")
    for place, row in enumerate(known):
      verdict = audit_sentences.verdict(row["accuracy_change_interval"])
      color = palette.VERDICTS[verdict]
      marker = palette.VERDICT_MARKERS[verdict]
      _draw_point(ax, place, row, "accuracy_change", color, marker)
    ax.set_xlabel("change, points\nbetter →")

  return [
    named_rows.drawing(name, title, [[row["condition"]] for row in of], plot)
    for name, title, of, plot in (
      ("changed", "decisions changed, 95 % interval", rows, plot_share),
      ("accuracy", "change of accuracy, 95 % interval", known, plot_accuracy),
    )
    if of
  ]


def _draw_point(ax: axes_lib.Axes, place, row, field, color, marker):
  """Draws a share and its interval in percent."""
  ends = [100 * end for end in row[f"{field}_interval"]]
  ax.plot(ends, [place] * 2, color=color, lw=2)
  ax.plot(100 * row[field], place, marker, color=color, ms=6)


def _information(content):
  rows = content["information"]
  if not rows:
    return []

  def plot(ax):
    values = [row["information"] for row in rows]
    places = range(len(rows))
    ax.barh(places, values, 0.6, label="information", **palette.bar(0))
    ax.errorbar(
      [row["null_mean"] for row in rows], places,
      xerr=[2 * row["null_std"] for row in rows], fmt="D", ms=4, capsize=3,
      color=palette.color(1), label="by chance, ± 2 std",
    )  # fmt: skip
    ax.set_xlabel("information, nats")

  names = [[row["modality"]] for row in rows]
  title = "information of each modality alone"
  return [named_rows.drawing("information", title, names, plot)]


def _weights(content):
  rows = content["weights"]
  names = [name for row in rows[:1] for name in row["means"]]
  if not names:
    return []
  size = 0.8 / len(rows)

  def plot(ax):
    for number, row in enumerate(rows):
      shift = (number - (len(rows) - 1) / 2) * size
      places = [place + shift for place in range(len(names))]
      weights = [row["means"][name] for name in names]
      style = palette.bar(number)
      ax.barh(places, weights, size, label=row["variant"], **style)
    ax.set_xlabel("mean weight")

  title = "mean weights by variant"
  row_height = 0.13 * len(rows) + 0.1
  return [
    named_rows.drawing(
      "weights", title, [[name] for name in names], plot, row_height=row_height
    )
  ]
