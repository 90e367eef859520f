"""Drawings with a row for every name; names may hold any text."""

from collections.abc import Callable, Sequence
import unicodedata

from matplotlib import axes as axes_lib

from btw_jax.reports import svg

# Letters of the longest name that leaves room for a plot beside it.
_LONGEST = 22
_TAIL = 8


def drawing(
  file: str,
  title: str,
  names: Sequence[Sequence[str]],
  plot: Callable[[axes_lib.Axes], None],
  *,
  row_height: float = 0.26,
) -> svg.Drawing:
  """Returns a drawing that grows with its rows, and has a legend below.

  Args:
    file: name of the file to save it as, without the ending.
    title: what the drawing shows.
    names: the lines of each row's name. The rows are at 0, 1, ... of the
      vertical axis, from the top.
    plot: a function that draws into the axes.
    row_height: in inches.
  """

  def plot_rows(ax):
    plot(ax)
    labels = ["\n".join(map(_pad, map(label, lines))) for lines in names]
    ax.set_yticks(range(len(names)), labels)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=4)
    svg.legend(ax)

  height = 1.1 + row_height * max(len(names), 3)
  return svg.Drawing(file, title, plot_rows, height, wide_title=True)


def draw(drawings: Sequence[svg.Drawing]) -> list[svg.Panel]:
  """Draws panels whose titles may hold names that `label` made."""
  return [
    panel._replace(title=panel.title.replace(r"\$", "$"))
    for panel in svg.draw(drawings)
  ]


def label(name: str, longest: int = _LONGEST) -> str:
  """Returns a name as a figure can show it.

  Long names lose letters before their last ones, by which they often differ.
  A dollar sign is escaped, as it would begin a formula.
  """
  text = "".join(c if c.isprintable() else " " for c in name)
  if num_wide := _count_wide(text):
    longest = max(_TAIL, longest * len(text) // (len(text) + num_wide))
  if len(text) > longest:
    tail = min(_TAIL, longest // 2)
    text = f"{text[: longest - tail - 1]}…{text[-tail:]}"
  return text.replace("$", r"\$")


def _pad(text):
  """Adds the space that Matplotlib does not leave for wide letters."""
  return round(1.3 * _count_wide(text)) * "\u00a0" + text


def _count_wide(text):
  """Counts letters, such as Chinese ones, that are twice as wide as others."""
  return sum(unicodedata.east_asian_width(c) in "WF" for c in text)
