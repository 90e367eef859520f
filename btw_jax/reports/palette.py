"""The colours of all figures and of the page, in light and in dark mode.

The series colours follow the hues of Okabe and Ito (2008), "Color universal
design", darkened so that a line of each is visible on white paper. Any two of
them differ by a CIE76 distance of 26 or more under simulated deuteranopia, and
by 20 or more under protanopia (Machado et al. 2009, severity 1).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import colors


class Theme(NamedTuple):
  """The colours of one mode, as `#rrggbb`.

  Attributes:
    ink: text, and the lines of axes.
    soft: text of less weight, lines of reference, and neutral results.
    paper: the background of the page and of figures.
    tint: the background of boxes.
    line: borders of boxes and tables.
    mark: links.
    series: the colours of lines and bars.
  """

  ink: str
  soft: str
  paper: str
  tint: str
  line: str
  mark: str
  series: tuple[str, ...]

  def css(self) -> str:
    """Returns the colours of the page as CSS variables."""
    names = [name for name in self._fields if name != "series"]
    return " ".join(f"--{name}: {getattr(self, name)};" for name in names)

  def drawn(self) -> tuple[str, ...]:
    """Returns the colours that figures use; the dark mode replaces each."""
    return (self.ink, self.soft, self.paper, *self.series)


LIGHT = Theme(
  ink="#1c2430",
  soft="#5b6675",
  paper="#ffffff",
  tint="#f4f6f9",
  line="#d8dee6",
  mark="#14518a",
  series=(
    "#024e97", "#e36912", "#21a477", "#981f68", "#7f5300", "#222222", "#3097db",
    "#571500",
  ),
)  # fmt: skip
DARK = Theme(
  ink="#e6e9ee",
  soft="#a3adba",
  paper="#171b22",
  tint="#20262f",
  line="#3a434f",
  mark="#8cc4ff",
  series=(
    "#3590cf", "#f08a3c", "#4cd4a5", "#b06996", "#fff251", "#ffffff", "#a0d8ff",
    "#a15d2e",
  ),
)  # fmt: skip
_MARKERS = "osD^vPX*"
_DASHES = ("-", "--", "-.", (0, (1, 1.5)))
_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++", "||")
# Colours of a better, a worse and an undecided result.
VERDICTS = {1: LIGHT.series[0], -1: LIGHT.series[1], 0: LIGHT.soft}
VERDICT_MARKERS = {1: "^", -1: "v", 0: "o"}
SEQUENTIAL = "Blues"
# The text of cells is the same in both modes, as their colours are. These two
# differ from all colours that the dark mode replaces.
CELL_INKS = ("#000000", "#fefefe")


def line(number: int) -> Mapping[str, Any]:
  """Returns the colour, the dashes and the marker of a series of points."""
  return {
    "color": color(number),
    "linestyle": _pick(_DASHES, number),
    "marker": _pick(_MARKERS, number),
    "markersize": 4.5,
  }


def bar(number: int) -> Mapping[str, Any]:
  """Returns the colour and the hatch of a series of bars."""
  return {
    "facecolor": color(number),
    "hatch": _pick(_HATCHES, number),
    "edgecolor": LIGHT.paper,
    "linewidth": 0.5,
  }


def color(number: int) -> str:
  """Returns the colour of a series; colours repeat after the last."""
  return _pick(LIGHT.series, number)


def cell_ink(share: float) -> str:
  """Returns the text colour of a cell, `share` of the way up `SEQUENTIAL`."""
  cell = mpl.colormaps[SEQUENTIAL](share)
  return max(CELL_INKS, key=lambda ink: contrast(ink, cell))


def contrast(one: Any, other: Any) -> float:
  """Computes the contrast ratio, 1 to 21, of two colours (WCAG 2.2)."""
  low, high = sorted(map(_luminance, (one, other)))
  return (high + 0.05) / (low + 0.05)


def _luminance(value):
  """Returns the relative luminance of a colour, 0 to 1."""
  linear = [
    c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
    for c in colors.to_rgb(value)
  ]
  shares = (0.2126, 0.7152, 0.0722)
  return sum(s * c for s, c in zip(shares, linear, strict=True))


def _pick(values, number):
  return values[number % len(values)]
