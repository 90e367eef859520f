"""A picture of a finished training run: its losses and weights over epochs."""

import os

import matplotlib as mpl
from matplotlib import figure as figure_lib

from btw_jax.reports import curves
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables

# Two panels side by side can be read on a page that is 390 pixels wide: letters
# of 10 points are then 10 pixels high.
_COLUMNS = 2
_WIDTH = 5.4
_ROW_HEIGHT = 2.2
_LEGEND_HEIGHT = 0.8
DPI = 220


def picture(workdir: str | os.PathLike, path: str | os.PathLike) -> None:
  """Draws losses and mean weights of a finished run into a PNG file."""
  draw(workdir).savefig(path, format="png", metadata={"Software": None})


def draw(workdir: str | os.PathLike) -> figure_lib.Figure:
  """Draws losses and mean weights of a finished run.

  The upper panels show the training and the validation loss of each weighting,
  at the setting that it chose; many methods take several rows. The lower panels
  show the validation loss of each modality's own model, and the mean weights of
  each weighting whose weights vary. A refit trains on the validation examples
  and is not shown.
  """
  (run,) = study_lib.read([("", workdir)])
  methods = [
    study_lib.Method(row["name"], row["name"], run, row)
    for row in run.results["rows"]
    if row["kind"] == "weighting"
  ]
  weighted = curves.logged_methods(methods)
  parts = curves.parts(curves.distinct_methods(methods))
  num_rows = -(-(1 + len(weighted)) // _COLUMNS)
  heights = [
    n * _ROW_HEIGHT + _LEGEND_HEIGHT for n in (*[1] * len(parts), num_rows)
  ]
  with mpl.rc_context(svg.STYLE):
    figure = figure_lib.Figure(
      (_WIDTH, sum(heights)), layout="constrained", dpi=DPI
    )
    *upper, lower = figure.subfigures(len(heights), 1, height_ratios=heights)
    num_seeds = tables.quantity(len(run.results["seeds"]), "seed")
    upper[0].suptitle(f"Mean ± std over {num_seeds}")
    losses = []
    for of_part, shown in zip(upper, parts, strict=True):
      losses += _draw_losses(of_part, shown)
    svg.share_limits(losses, "y")
    _draw_modalities(lower, run, weighted, num_rows)
  return figure


def _draw_losses(part, methods):
  """Draws the losses of methods, by label, and returns the axes."""
  axes = part.subplots(1, _COLUMNS, sharey=True)
  for ax, (split, name) in zip(axes, curves.SPLITS.items(), strict=True):
    curves.plot_losses(ax, methods, split)
    ax.set_title(f"{name} loss")
  svg.legend(axes[0])
  return list(axes)


def _draw_modalities(part, run, weighted, num_rows):
  """Draws the losses of single modalities, and their weights by method."""
  axes = list(part.subplots(num_rows, _COLUMNS, squeeze=False).flat)
  first, *others = axes[: 1 + len(weighted)]
  for ax in axes[1 + len(weighted) :]:
    ax.remove()
  for number, modality in enumerate(run.results["modalities"]):
    where = {"stage": "unimodal", "run": modality, "split": "valid"}
    loss = curves.read_rows(run, "metrics.csv", ["loss"], where)["loss"]
    curves.plot_band(first, loss, modality, number)
  curves.label_axes(first, "loss, nats")
  first.set_title("loss of each modality alone")
  for ax, (label, method) in zip(others, weighted.items(), strict=True):
    curves.plot_weights(ax, method)
    ax.set_title(f"{label}: weights")
  svg.share_limits(others, "y")
  svg.legend(first)
