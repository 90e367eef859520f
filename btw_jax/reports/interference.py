"""Heat maps of the decisions that change when a modality is replaced."""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any

from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import svg

_COLUMNS = 3
# Up to so many models have a column of a panel each.
_MAX_MODELS = 8


def picture(
  rows: Sequence[Mapping[str, Any]],
  path: str | os.PathLike,
  *,
  regression: bool = False,
) -> None:
  """Draws one heat map per model, modality by intervention, into a PNG file.

  The rows are the `effects` of `interference.json`.
  """
  models, modalities, kinds = (
    list(dict.fromkeys(row[field] for row in rows))
    for field in ("model", "modality", "kind")
  )
  shares = np.zeros((len(models), len(modalities), len(kinds)))
  for row in rows:
    place = (
      models.index(row["model"]),
      modalities.index(row["modality"]),
      kinds.index(row["kind"]),
    )
    shares[place] = 100 * np.mean(row["flipped"]["seeds"])
  num_columns = min(_COLUMNS, len(models))
  num_rows = -(-len(models) // num_columns)
  size = (1.6 + 3.6 * num_columns, (1.1 + 0.42 * len(modalities)) * num_rows)
  drawing = figure_lib.Figure(size, layout="constrained")
  axes = drawing.subplots(
    num_rows, num_columns, squeeze=False, sharex=True, sharey=True
  )
  top = max(1.0, shares.max())
  for ax in axes.flat[len(models) :]:
    ax.remove()
  axes = axes.flat[: len(models)]
  for ax, model, values in zip(axes, models, shares, strict=True):
    image = _draw_cells(ax, values, top)
    ax.set_title(model.replace(" + ", "\n+ ", 1), fontsize=9)
    ax.set_xticks(range(len(kinds)), kinds, rotation=45, ha="right")
    ax.set_yticks(range(len(modalities)), modalities)
    ax.tick_params(length=0)
  drawing.colorbar(
    image, ax=list(axes), label=f"{_changed(regression)}, %", shrink=0.8
  )
  drawing.savefig(path, dpi=110)


def panels(
  rows: Sequence[Mapping[str, Any]], *, regression: bool
) -> list[svg.Panel]:
  """Draws one heat map of each kind of intervention, modality by model.

  The rows are the `effects` of `interference.json`, of one or several runs.
  """
  models, modalities, kinds = (
    list(dict.fromkeys(row[field] for row in rows))
    for field in ("model", "modality", "kind")
  )
  shares = {kind: np.zeros((len(modalities), len(models))) for kind in kinds}
  for row in rows:
    place = modalities.index(row["modality"]), models.index(row["model"])
    shares[row["kind"]][place] = 100 * np.mean(row["flipped"]["seeds"])
  top = max((values.max() for values in shares.values()), default=0.0)

  # Many models take a row each.
  is_long = len(models) > _MAX_MODELS
  columns, lines = (modalities, models) if is_long else (models, modalities)

  def plot(values, ax):
    _draw_cells(ax, values.T if is_long else values, max(1.0, top))
    ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    ax.set_yticks(range(len(lines)), lines)
    ax.tick_params(length=0)

  height = {"height": 1.4 + 0.26 * len(models)} if is_long else {}
  return svg.draw(
    [
      svg.Drawing(
        f"interference_{kind}",
        f"{_changed(regression)} by {kind}, %",
        functools.partial(plot, values),
        **height,
      )
      for kind, values in shares.items()
    ]
  )


def _changed(regression):
  """Names the predictions that an intervention changes."""
  return "predictions moved" if regression else "decisions changed"


def _draw_cells(ax, values, top):
  """Draws a heat map from 0 to `top`, with its values as text."""
  image = ax.imshow(
    values, cmap=palette.SEQUENTIAL, vmin=0.0, vmax=top, aspect="auto"
  )
  for (row, column), value in np.ndenumerate(values):
    ax.text(
      column, row, f"{value:.0f}", ha="center", va="center",
      color=palette.cell_ink(value / top),
    )  # fmt: skip
  return image
