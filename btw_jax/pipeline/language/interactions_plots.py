"""The pictures of interactions in language models."""

from collections.abc import Mapping
import os

import matplotlib as mpl
from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports import training_plot

# The four atoms, in the order of all arrays.
ATOMS = ("R", "U1", "U2", "S")
_WIDTH = 5.4
_LABELS = (
  "R: in either source", "U1: in the first alone", "U2: in the second alone",
  "S: in both together",
)  # fmt: skip


def tasks(
  atoms: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike
) -> None:
  """Draws the atoms of each task, model beside truth, into a PNG file.

  `atoms` is the label of a task -> bits `[4]` of the model and of the truth.
  """
  with mpl.rc_context(svg.STYLE):
    figure = _figure(0.9 + 0.5 * len(atoms))
    ax = figure.subplots()
    places = np.arange(len(atoms))
    for which, (offset, alpha) in enumerate(((-0.2, 1.0), (0.2, 0.45))):
      bits = np.array([pair[which] for pair in atoms.values()])
      # A small negative atom cannot be stacked.
      bits = np.maximum(bits, 0.0)
      starts = np.cumsum(bits, axis=1) - bits
      for number, label in enumerate(_LABELS):
        ax.barh(
          places + offset,
          bits[:, number],
          0.36,
          starts[:, number],
          label=None if which else label,
          alpha=alpha,
          **palette.bar(number),
        )
    ax.set_yticks(places, list(atoms))
    ax.invert_yaxis()
    ax.set_xlabel("information, bits; upper bar: model, pale bar: truth")
    svg.legend(ax)
    _save(figure, path)


def layers(
  atoms: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike
) -> None:
  """Draws the atoms of each task after every layer into a PNG file.

  `atoms` is the label of a task -> bits `[L + 1, 4]` of the model, and `[4]` of
  the truth, which is a dashed line.
  """
  num_rows = -(-len(atoms) // 2)
  with mpl.rc_context(svg.STYLE):
    figure = _figure(0.6 + 1.7 * num_rows)
    axes = list(figure.subplots(num_rows, 2, squeeze=False, sharex=True).flat)
    for ax, (label, (bits, truth)) in zip(axes, atoms.items(), strict=False):
      for number, atom in enumerate(_LABELS):
        style = palette.line(number)
        ax.plot(bits[:, number], label=atom, **style)
        ax.axhline(
          truth[number], color=style["color"], linestyle=":", linewidth=1
        )
      ax.set_title(label)
      ax.set_xticks(range(len(bits)))
    for ax in axes[len(atoms) :]:
      ax.remove()
    for ax in axes[: len(atoms)][-2:]:
      ax.set_xlabel("layer; dotted: truth")
    figure.supylabel("information, bits")
    svg.legend(axes[0])
    _save(figure, path)


def _figure(height):
  return figure_lib.Figure(
    (_WIDTH, height), layout="constrained", dpi=training_plot.DPI
  )


def _save(figure, path):
  figure.savefig(path, format="png", metadata={"Software": None})
