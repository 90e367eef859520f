"""Small SVG drawings of one size, to place side by side on a page."""

from collections.abc import Callable, Sequence
import io
from typing import NamedTuple
import warnings

import matplotlib as mpl
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib

from btw_jax.reports import palette

# The page shows a drawing at least as large as this, so that a font size in
# points is at least as many pixels.
WIDTH = 4.2
_HEIGHT = 2.9
_FONT_SIZE = 10
# The fixed salt of the ids makes the same drawing the same file.
STYLE = {
  "svg.hashsalt": "btw_jax",
  "svg.fonttype": "none",
  "font.size": _FONT_SIZE,
  "axes.titlesize": _FONT_SIZE,
  "figure.titlesize": _FONT_SIZE,
  "axes.labelsize": _FONT_SIZE,
  "legend.fontsize": _FONT_SIZE,
  "xtick.labelsize": _FONT_SIZE,
  "ytick.labelsize": _FONT_SIZE,
  "text.color": palette.LIGHT.ink,
  "axes.labelcolor": palette.LIGHT.ink,
  "axes.edgecolor": palette.LIGHT.ink,
  "xtick.color": palette.LIGHT.ink,
  "ytick.color": palette.LIGHT.ink,
  "figure.facecolor": palette.LIGHT.paper,
  "savefig.facecolor": palette.LIGHT.paper,
  "axes.facecolor": palette.LIGHT.paper,
  "hatch.linewidth": 0.7,
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


class Drawing(NamedTuple):
  """A panel that is not drawn yet.

  Attributes:
    name: name of the file to save it as, without the ending.
    title: what the drawing shows.
    plot: a function that draws into the axes.
    height: in inches.
    wide_title: true if the title needs the width of the panel, not of the axes.
  """

  name: str
  title: str
  plot: Callable[[axes_lib.Axes], None]
  height: float = _HEIGHT
  wide_title: bool = False


def draw(drawings: Sequence[Drawing], *, share: str = "") -> list[Panel]:
  """Draws panels; those of one call share the limits of the axes `share`.

  `share` is "", "x", "y" or "xy".
  """
  with mpl.rc_context(STYLE):
    axes = []
    for drawing in drawings:
      figure = figure_lib.Figure((WIDTH, drawing.height), layout="constrained")
      ax = figure.subplots()
      drawing.plot(ax)
      (figure.suptitle if drawing.wide_title else ax.set_title)(drawing.title)
      axes.append(ax)
    share_limits(axes, share)
    return [
      Panel(drawing.name, drawing.title, _save(ax.figure))
      for drawing, ax in zip(drawings, axes, strict=True)
    ]


def share_limits(axes: Sequence[axes_lib.Axes], names: str) -> None:
  """Gives axes the same limits, which include those of each of them."""
  for name in names:
    limits = [getattr(ax, f"get_{name}lim")() for ax in axes]
    for ax in axes:
      ax.set(**{f"{name}lim": (min(limits)[0], max(end for _, end in limits))})


def _save(figure):
  """Returns a figure as SVG text that follows the mode of its viewer."""
  text = io.StringIO()
  with warnings.catch_warnings():
    # Text stays text, for which the viewer has its own fonts.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
    figure.savefig(text, format="svg", metadata={"Date": None})
  return text.getvalue().replace("</style>", _dark_style() + "</style>", 1)


def _dark_style():
  """Returns the style rules that replace each light colour by a dark one."""
  rules = []
  for light, dark in zip(
    palette.LIGHT.drawn(), palette.DARK.drawn(), strict=True
  ):
    for part in ("fill", "stroke"):
      rules.append(
        f'[style*="{part}: {light}"], [{part}="{light}"]'
        f" {{ {part}: {dark} !important; }}"
      )
  return "@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}\n"


def legend(ax: axes_lib.Axes) -> None:
  """Adds a legend below the axes, for which a figure grows."""
  figure = ax.figure
  handles, labels = ax.get_legend_handles_labels()
  if not labels:
    return
  # A letter is 0.6 times as wide as the font is high, and the line before a
  # label with its gaps is five times as wide.
  width = _FONT_SIZE * (5 + 0.6 * max(map(len, labels)))
  columns = max(1, int(72 * figure.bbox.width / figure.dpi / width))
  # A part of a figure, with panels beside it, keeps its size.
  if isinstance(figure, figure_lib.Figure):
    row_height = 1.5 * _FONT_SIZE / 72 * -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + row_height)
  figure.legend(
    handles, labels, loc="outside lower center", frameon=False,
    ncols=min(columns, len(labels)), columnspacing=1.0, handlelength=2.6,
  )  # fmt: skip
