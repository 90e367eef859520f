"""Heat maps of the decisions that change when a modality is replaced."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import svg

_COLUMNS = 3


def picture(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
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
    image = ax.imshow(values, cmap="magma_r", vmin=0.0, vmax=top, aspect="auto")
    for (m, k), share in np.ndenumerate(values):
      color = "white" if share > 0.55 * top else "black"
      ax.text(k, m, f"{share:.0f}", ha="center", va="center", color=color)
    ax.set_title(model.replace(" + ", "\n+ ", 1), fontsize=9)
    ax.set_xticks(range(len(kinds)), kinds, rotation=45, ha="right")
    ax.set_yticks(range(len(modalities)), modalities)
    ax.tick_params(length=0)
  drawing.colorbar(
    image, ax=list(axes), label="decisions changed, %", shrink=0.8
  )
  drawing.savefig(path, dpi=110)


def panel(rows: Sequence[Mapping[str, Any]], kind: str) -> svg.Panel:
  """Draws one heat map of a kind of intervention, modality by model.

  The rows are the `effects` of `interference.json`, of one or several runs.
  """
  rows = [row for row in rows if row["kind"] == kind]
  models, modalities = (
    list(dict.fromkeys(row[field] for row in rows))
    for field in ("model", "modality")
  )
  shares = np.zeros((len(modalities), len(models)))
  for row in rows:
    place = modalities.index(row["modality"]), models.index(row["model"])
    shares[place] = 100 * np.mean(row["flipped"]["seeds"])

  def plot(ax):
    top = max(1.0, shares.max())
    ax.imshow(shares, cmap="magma_r", vmin=0.0, vmax=top, aspect="auto")
    for (m, k), share in np.ndenumerate(shares):
      color = "white" if share > 0.55 * top else "black"
      ax.text(k, m, f"{share:.0f}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(models)), models, rotation=40, ha="right")
    ax.set_yticks(range(len(modalities)), modalities)
    ax.tick_params(length=0)

  title = f"decisions changed by {kind}, %"
  return svg.draw(f"interference_{kind}", title, plot)
