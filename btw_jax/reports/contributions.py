"""Bar charts of the contribution of each modality to a model's quality."""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import svg

_LIKELIHOOD = "likelihood"
_AXIS = "contribution to the log-likelihood, nats"


def panel(rows: Sequence[Mapping[str, Any]]) -> svg.Panel:
  """Draws the contributions to the likelihood, modality by weighting.

  The rows are those of `contribution.json`, of one or several runs.
  """
  count = len(_select(rows))
  return svg.draw(
    "contribution",
    "contribution of each modality, 95 % interval",
    lambda ax: (_draw(ax, rows), svg.legend(ax)),
    height=1.6 + 0.13 * count,
  )


def picture(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
  """Draws the contributions to the likelihood into a PNG file."""
  size = (6.4, 1.4 + 0.17 * len(_select(rows)))
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
  """Draws a group of bars for each modality, one bar for each weighting."""
  rows = _select(rows)
  modalities, weightings = (
    list(dict.fromkeys(row[field] for row in rows))
    for field in ("modality", "weighting")
  )
  height = 0.8 / len(weightings)
  for number, weighting in enumerate(weightings):
    bars = [row for row in rows if row["weighting"] == weighting]
    places = [modalities.index(r["modality"]) + number * height for r in bars]
    means = np.array([r["mean"] for r in bars])
    ends = np.array([r["interval"] for r in bars])
    ax.barh(
      places,
      means,
      height,
      xerr=np.abs(ends.T - means),
      label=weighting,
      color=f"C{number}",
      error_kw={"lw": 1},
    )
  centre = (len(weightings) - 1) * height / 2
  ax.set_yticks(np.arange(len(modalities)) + centre, modalities)
  ax.axvline(0, color="0.6", linewidth=0.8)
  ax.invert_yaxis()
  ax.set_xlabel(_AXIS)
