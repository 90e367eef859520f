"""The colours can be told apart, and all text and lines can be read."""

import itertools
import re

import numpy as np
import pytest

from btw_jax.reports import palette
from btw_jax.reports import template

THEMES = {"light": palette.LIGHT, "dark": palette.DARK}
# Machado et al. (2009), "A physiologically-based model for simulation of color
# vision deficiency", severity 1, applied to linear RGB.
_DEUTERANOPIA = [
  [0.367322, 0.860646, -0.227968],
  [0.280085, 0.672501, 0.047413],
  [-0.011820, 0.042940, 0.968881],
]
# Linear sRGB -> XYZ, white point D65 (IEC 61966-2-1).
_XYZ = [
  [0.4124564, 0.3575761, 0.1804375],
  [0.2126729, 0.7151522, 0.0721750],
  [0.0193339, 0.1191920, 0.9503041],
]
_WHITE = [0.95047, 1.0, 1.08883]


def _linear(color):
  values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
  low = values <= 0.04045
  return np.where(low, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _lab(linear):
  x, y, z = np.array(_XYZ) @ linear / _WHITE
  f = [
    t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29
    for t in (x, y, z)
  ]
  return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _distance(one, other):
  """Returns the CIE76 distance of two colours under deuteranopia."""
  seen = [
    _lab(np.clip(np.array(_DEUTERANOPIA) @ _linear(color), 0, 1))
    for color in (one, other)
  ]
  return np.linalg.norm(seen[0] - seen[1])


def _in_theme(theme, colors):
  """Returns the colours of a theme that replace colours of the light one."""
  drawn = dict(zip(palette.LIGHT.drawn(), theme.drawn(), strict=True))
  return [drawn[color] for color in colors]


@pytest.mark.parametrize("name", THEMES)
def test_colours_differ_for_people_who_confuse_red_and_green(name):
  theme = THEMES[name]
  # A red and a green of equal lightness, which look alike to them.
  assert _distance("#c46a4a", "#7f8a4a") < 10
  for colors in (
    theme.series,
    _in_theme(theme, palette.VERDICTS.values()),
  ):
    for pair in itertools.combinations(colors, 2):
      assert _distance(*pair) >= 20, pair


@pytest.mark.parametrize("name", THEMES)
def test_text_and_lines_contrast_with_their_background(name):
  # Examples of WCAG 2.2: 21 for black on white, 4.48 for #777777 on white.
  assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
  assert palette.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
  theme = THEMES[name]
  for text, background in itertools.product(
    (theme.ink, theme.soft, theme.mark), (theme.paper, theme.tint)
  ):
    assert palette.contrast(text, background) >= 4.5, (text, background)
  for line in theme.drawn():
    if line != theme.paper:
      assert palette.contrast(line, theme.paper) >= 3, line


def test_the_text_of_cells_can_be_read():
  cells = palette.mpl.colormaps[palette.SEQUENTIAL]
  for share in np.linspace(0, 1, 101):
    ink = palette.cell_ink(share)
    assert palette.contrast(ink, cells(share)) >= 4.5, share


def test_series_differ_in_more_than_their_colour():
  count = len(palette.LIGHT.series)
  assert len({palette.line(n)["marker"] for n in range(count)}) == count
  assert len({palette.bar(n)["hatch"] for n in range(count)}) == count
  assert len(set(palette.VERDICT_MARKERS.values())) == 3


def test_the_page_has_no_colours_of_its_own():
  """The tests above read the very colours of the page."""
  files = [path.read_text("utf-8") for path in template.FOLDER.glob("*.html")]
  assert len(files) > 2
  text = "".join(files)
  assert "{{ light }}" in text
  assert "{{ dark }}" in text
  assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;, )])|rgb|hsl", text) == []
  used = set(re.findall(r"(?<![-\w])color: ([^;]+);", text))
  assert used == {"var(--ink)", "var(--soft)", "var(--mark)"}
  backgrounds = set(re.findall(r"background: (var\([^;]+\));", text))
  assert backgrounds == {"var(--paper)", "var(--tint)"}
  for name in ("ink", "soft", "mark", "paper", "tint", "line"):
    assert f"--{name}: {getattr(palette.DARK, name)};" in palette.DARK.css()
