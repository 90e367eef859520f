"""Small SVG drawings of one size, to place side by side on a page."""

from collections.abc import Callable
import io
from typing import NamedTuple

import matplotlib as mpl
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib

_SIZE = (4.2, 3.1)
# The fixed salt of the ids makes the same drawing the same file.
_STYLE = {
  "svg.hashsalt": "btw_jax",
  "svg.fonttype": "none",
  "font.size": 9,
  "axes.titlesize": 9,
  "legend.fontsize": 7.5,
  "xtick.labelsize": 8,
  "ytick.labelsize": 8,
  "axes.spines.top": False,
  "axes.spines.right": False,
}


class Panel(NamedTuple):
  """A drawing.

  Attributes:
    name: name of the file to save it as, without the ending.
    title: what the drawing shows; also its alternative text.
    svg: the SVG text.
  """

  name: str
  title: str
  svg: str


def draw(
  name: str,
  title: str,
  plot: Callable[[axes_lib.Axes], None],
  *,
  height: float = _SIZE[1],
) -> Panel:
  """Draws a panel: `plot` draws into the axes; `height` is in inches."""
  with mpl.rc_context(_STYLE):
    drawing = figure_lib.Figure((_SIZE[0], height), layout="constrained")
    ax = drawing.subplots()
    plot(ax)
    ax.set_title(title)
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None})
  return Panel(name, title, text.getvalue())


def legend(ax: axes_lib.Axes) -> None:
  """Adds a legend below the axes, where it covers no line."""
  number = len(ax.get_legend_handles_labels()[1])
  ax.figure.legend(
    loc="outside lower center", ncols=min(4, max(1, number)), frameon=False
  )
