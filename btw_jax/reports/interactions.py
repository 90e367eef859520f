"""Plots of partial information decompositions, as stacked bars."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from matplotlib import figure as figure_lib
from matplotlib import patheffects
import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports import tables

# atom -> label, with the names of the two sources
_ATOMS = {
  "redundant": "either ({first} or {second})",
  "unique1": "{first} alone",
  "unique2": "{second} alone",
  "synergistic": "only both together",
}


def picture(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
  """Draws one pair of sources into a PNG file, with a bar for every weighting.

  The rows are those of `interactions.json` for this pair.
  """
  width = 3.2 + 1.3 * len(rows)
  drawing = figure_lib.Figure((width, 4.4), layout="constrained")
  ax = drawing.subplots()
  names = {
    k: "all others" if rows[0][k] == "rest" else rows[0][k]
    for k in ("first", "second")
  }
  bottoms = np.zeros(len(rows))
  for i, (atom, label) in enumerate(_ATOMS.items()):
    by_row = [np.array(row["nats"][atom]) for row in rows]
    means = np.array([values.mean() for values in by_row])
    spread = [values.std(ddof=min(1, len(values) - 1)) for values in by_row]
    # Error bars of the stacked atoms stand side by side.
    places = np.arange(len(rows)) + 0.12 * (i - 1.5)
    ax.bar(
      range(len(rows)), means, 0.6, bottoms, label=label.format(**names),
      **palette.bar(i),
    )  # fmt: skip
    _draw_spread(ax, places, bottoms + means, spread)
    bottoms += means
  gap = max(max(row["nats"]["gap"]) for row in rows)
  title = "Information about the prediction: {first} and {second}".format(
    **names
  )
  if rows[0]["control"]:
    title += f", given {rows[0]['control']}"
  num_seeds = len(rows[0]["nats"]["gap"])
  drawing.suptitle(title, fontsize=11)
  ax.set_xticks(range(len(rows)), [row["weighting"] for row in rows])
  ax.set_xlim(-0.6, len(rows) - 0.4)
  ax.set_ylabel("information about the prediction, nats")
  ax.set_xlabel(
    f"mean ± standard deviation over {tables.quantity(num_seeds, 'seed')};\n"
    f"numerical error at most {gap:.0e} nats",
    fontsize=8,
  )
  handles, labels = ax.get_legend_handles_labels()
  drawing.legend(
    handles[::-1], labels[::-1], loc="outside right center", fontsize=8
  )
  drawing.savefig(path, dpi=110)


def _draw_spread(ax, places, heights, spread):
  """Draws error bars whose white edge tells them from dark bars."""
  _, caps, lines = ax.errorbar(
    places, heights, spread, fmt="none", ecolor=palette.LIGHT.ink,
    elinewidth=1, capsize=3,
  )  # fmt: skip
  edge = patheffects.withStroke(linewidth=3, foreground=palette.LIGHT.paper)
  for artist in (*caps, *lines):
    artist.set_path_effects([edge])


def drawing(
  rows: Sequence[Mapping[str, Any]], weighting: str, label: str
) -> svg.Drawing:
  """Returns one bar per modality: the information of it and of all others.

  Args:
    rows: those of `interactions.json`, pairs of a modality and all others.
    weighting: the weighting to draw.
    label: its name in the title.
  """
  rows = [row for row in rows if row["weighting"] == weighting]
  labels = ("either", "modality alone", "others alone", "only both")

  def plot(ax):
    bottoms = np.zeros(len(rows))
    for i, (atom, name) in enumerate(zip(_ATOMS, labels, strict=True)):
      means = np.array([np.mean(row["nats"][atom]) for row in rows])
      style = palette.bar(i)
      ax.bar(range(len(rows)), means, 0.7, bottoms, label=name, **style)
      bottoms += means
    names = [row["first"] for row in rows]
    ax.set_xticks(range(len(rows)), names, rotation=40, ha="right")
    ax.set_ylabel("information, nats")
    svg.legend(ax)

  title = f"{label}: information by modality"
  return svg.Drawing(f"interactions_{weighting}", title, plot)
