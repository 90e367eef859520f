"""Small drawings that stand side by side on a page, or below each other."""

from collections.abc import Callable
import io
from typing import NamedTuple

import matplotlib as mpl
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib

_SIZE = (4.2, 3.1)
# The same drawing is the same file.
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
    name: of the file to save it as, without its ending.
    title: what it shows, for those who cannot see it too.
    svg: the drawing.
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
  """Draws a panel.

  Args:
    name: of the file to save it as.
    title: what it shows.
    plot: draws into axes.
    height: inches.

  Returns:
    The panel.
  """
  with mpl.rc_context(_STYLE):
    drawing = figure_lib.Figure((_SIZE[0], height), layout="constrained")
    ax = drawing.subplots()
    plot(ax)
    ax.set_title(title)
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None})
  return Panel(name, title, text.getvalue())


def legend(ax: axes_lib.Axes) -> None:
  """A legend above the drawing, where it covers nothing.

  Args:
    ax: with labelled lines.
  """
  number = len(ax.get_legend_handles_labels()[1])
  ax.figure.legend(
    loc="outside lower center", ncols=min(4, max(1, number)), frameon=False
  )
