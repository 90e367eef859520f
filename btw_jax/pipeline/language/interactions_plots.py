"""The pictures of interactions in language models."""

from collections.abc import Mapping
import os

import matplotlib as mpl
from matplotlib import figure as figure_lib
from matplotlib import ticker
import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports import training_plot

_WIDTH = 5.4
_LABELS = (
  "R: either source", "U1: first alone", "U2: second alone",
  "S: only both together",
)  # fmt: skip
# Opacity of the bars of each kind.
_KINDS = {"grid": 1.0, "masked": 1.0, "truth": 0.45}


def tasks(
  atoms: Mapping[str, Mapping[str, np.ndarray]], path: str | os.PathLike
) -> None:
  """Draws the atoms of each task as stacked bars into a PNG file.

  `atoms` is the label of a task -> "grid", "masked" or "truth" -> bits `[4]`.
  """
  bars = [
    (label, kind, np.maximum(of_task[kind], 0.0))
    for label, of_task in atoms.items()
    for kind in _KINDS
    if kind in of_task
  ]
  first = [n == 0 or bars[n - 1][0] != bar[0] for n, bar in enumerate(bars)]
  # Bars of a task touch; above the first one stands its label.
  places = np.arange(len(bars)) + 1.3 * np.cumsum(first)
  bits = np.array([of_bar for _, _, of_bar in bars])
  starts = np.cumsum(bits, axis=1) - bits
  with mpl.rc_context(svg.STYLE):
    figure = _figure(0.8 + 0.18 * places[-1])
    ax = figure.subplots()
    for number, label in enumerate(_LABELS):
      drawn = ax.barh(
        places, bits[:, number], 0.9, starts[:, number], label=label,
        **palette.bar(number),
      )  # fmt: skip
      for patch, (_, kind, _) in zip(drawn, bars, strict=True):
        patch.set_alpha(_KINDS[kind])
    for place, (label, _, _), is_first in zip(places, bars, first, strict=True):
      if is_first:
        ax.text(0, place - 0.6, f" {label}")
    ax.set_yticks(places, [kind for _, kind, _ in bars])
    ax.set_ylim(places[-1] + 0.7, places[0] - 1.8)
    ax.set_xlabel("information about the answer, bits")
    svg.legend(ax)
    _save(figure, path)


def layers(
  atoms: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
  path: str | os.PathLike,
) -> None:
  """Draws the atoms of each task after every layer into a PNG file.

  `atoms` is the label of a task -> bits `[L + 1, 4]` of the model, and `[4]` of
  the truth, which is a wide pale line, or None where it is not known.
  """
  is_known = any(truth is not None for _, truth in atoms.values())
  num_rows = -(-len(atoms) // 2)
  with mpl.rc_context(svg.STYLE):
    figure = _figure(0.6 + 1.8 * num_rows)
    num_columns = min(2, len(atoms))
    axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for ax, (label, (bits, truth)) in zip(axes, atoms.items(), strict=False):
      for number, atom in enumerate(_LABELS):
        style = palette.line(number)
        ax.plot(bits[:, number], label=atom, **style)
        if truth is not None:
          color = style["color"]
          ax.axhline(truth[number], color=color, alpha=0.25, linewidth=5)
      ax.set_title(label)
      ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    for ax in axes[len(atoms) :]:
      ax.remove()
    for ax in axes[: len(atoms)][-2:]:
      ax.set_xlabel("layer; wide pale line: truth" if is_known else "layer")
    what = "information" if num_rows == 1 else "information about the answer"
    figure.supylabel(f"{what}, bits")
    svg.legend(axes[0])
    _save(figure, path)


def _figure(height):
  return figure_lib.Figure(
    (_WIDTH, height), layout="constrained", dpi=training_plot.DPI
  )


def _save(figure, path):
  figure.savefig(path, format="png", metadata={"Software": None})
