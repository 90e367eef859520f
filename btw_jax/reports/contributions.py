"""Plots of the contribution of each modality to a model's quality."""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import svg

_LIKELIHOOD = "likelihood"
# Up to so many weightings have an interval beside each other.
_MOST = 4
_AXIS = "contribution to the log-likelihood, nats"


def panel(rows: Sequence[Mapping[str, Any]], usual: Sequence[str]) -> svg.Panel:
  """Draws the contributions to the likelihood, modality by weighting.

  The rows are those of `contribution.json`, of one or several runs. Of many
  weightings, only the `usual` ones are shown.
  """
  if len({row["weighting"] for row in rows}) > _MOST:
    rows = [row for row in rows if row["weighting"] in usual]
  count = len(_select(rows))
  drawing = svg.Drawing(
    "contribution",
    "contribution of each modality, 95 % interval",
    lambda ax: (_draw(ax, rows), svg.legend(ax)),
    1.2 + 0.2 * count,
  )
  return svg.draw([drawing])[0]


def picture(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
  """Draws the contributions to the likelihood into a PNG file."""
  size = (6.4, 1.2 + 0.17 * len(_select(rows)))
  drawing = figure_lib.Figure(size, layout="constrained")
  ax = drawing.subplots()
  _draw(ax, rows)
  ax.spines[["top", "right"]].set_visible(False)
  svg.legend(ax)
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  drawing.savefig(path, dpi=110)


def _select(rows):
  """Returns the rows of single modalities by their likelihood."""
  return [
    row
    for row in rows
    if row["metric"] == _LIKELIHOOD and row["modality"] is not None
  ]


def _draw(ax: axes_lib.Axes, rows):
  """Draws a group of intervals for each modality, one for each weighting."""
  rows = _select(rows)
  modalities, weightings = (
    list(dict.fromkeys(row[field] for row in rows))
    for field in ("modality", "weighting")
  )
  height = 0.6 / len(weightings)
  for number, weighting in enumerate(weightings):
    shown = [row for row in rows if row["weighting"] == weighting]
    places = [modalities.index(r["modality"]) + number * height for r in shown]
    means = np.array([r["mean"] for r in shown])
    ends = np.array([r["interval"] for r in shown])
    style = palette.line(number) | {"linestyle": "none"}
    lengths = np.abs(ends.T - means)
    ax.errorbar(means, places, xerr=lengths, label=weighting, **style)
  centre = (len(weightings) - 1) * height / 2
  ax.set_yticks(np.arange(len(modalities)) + centre, modalities)
  ax.axvline(0, color=palette.LIGHT.soft, linewidth=0.8)
  ax.margins(y=0.1)
  ax.invert_yaxis()
  ax.set_xlabel(_AXIS)
