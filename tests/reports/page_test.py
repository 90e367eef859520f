"""The page of made-up runs says what their files hold."""

import html
import itertools
import re

import numpy as np
import pytest

from btw_jax.reports import page
from btw_jax.reports import palette
from btw_jax.reports import study as study_lib
from support import browser
from support import dataset_files
from support import run_files
from support import studies

_METHODS = {
  "gate": (0.0, 0.0), "kl": (0.0, 0.0), "mi": (0.02, 0.1), "auto": (0.02, 0.1)
}  # fmt: skip


def _write(folder, **units):
  """Writes the page of one data set per unit: name -> unit."""
  runs = []
  for day, (name, unit) in enumerate(units.items(), 1):
    problem = studies.problem(_METHODS, name=name, unit=unit)
    for method in ("uniform", "gate"):
      problem.methods[method].row["choice"] = {
        "variant": "uniform", "strength": 0.0, "scale": 0.5
      }  # fmt: skip
    date = f"2026-11-0{day}"
    runs.append(run_files.write(folder / name, problem, date=date))
  return page.write(study_lib.problems(runs))


def _figures(text):
  """Returns title -> SVG text; the data set before the title is left out."""
  return {
    name.partition(": ")[2]: figure
    for name, figure in browser.figures(text).items()
  }


def _visible(text):
  """Returns the text that readers see or hear, of the page and its figures."""
  figures = " ".join(
    re.sub(r"(?s)<(style|defs|metadata).*?</\1>|<[^>]+>", " ", figure)
    for figure in _figures(text).values()
  )
  labels = " ".join(re.findall(r'(?:alt|aria-label)="([^"]*)"', text))
  body = re.sub(r"(?s)<(head|script|pre).*?</\1>|<[^>]+>", " ", text)
  return html.unescape(f"{body} {labels} {figures}")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return {
    "classes": _write(folder / "one", classes="accuracy"),
    "numbers": _write(folder / "two", numbers="mae"),
    "both": _write(folder / "three", classes="accuracy", numbers="mae"),
  }


def test_a_regression_is_told_in_its_own_words(texts):
  words = r"(?i)\b(accura\w*|decisions?|class\w*|correct|correctness)\b"
  assert re.findall(words, _visible(texts["numbers"])) == []
  assert "mean absolute error" in _visible(texts["numbers"])
  assert not re.search(r"\bMAE\b", _visible(texts["classes"]))
  assert re.search(words, _visible(texts["classes"]))
  # Each section of a mixed study uses its own words.
  start = texts["both"].index('aria-labelledby="numbers"')
  end = texts["both"].index('id="ranks"')
  assert re.findall(words, _visible(texts["both"][start:end])) == []
  assert "mean rank by accuracy or MAE" in texts["both"]


def test_equal_models_share_a_line(texts):
  """The labels name all methods that are the same model."""
  figures = _figures(texts["classes"])
  for title in (
    "training loss, mean ± std over seeds",
    "validation loss, mean ± std over seeds",
  ):
    labels = re.findall(r"<text[^>]*>([a-z][^<]*)</text>", figures[title])
    assert [x for x in labels if "," in x and "loss" not in x] == [
      "uniform, gate", "mi, auto"
    ]  # fmt: skip
    assert "gate" not in labels
  assert "mi, auto: weights, mean ± std over seeds" in figures
  assert "uniform, gate: information by modality" in figures


@pytest.mark.parametrize(
  ("unit", "change", "better"),
  [("classes", "Δ accuracy", "better →"), ("numbers", "Δ MAE", "← better")],
)
def test_the_change_has_the_sign_of_the_table(texts, unit, change, better):
  """The gain of mi is 0.02: two points of accuracy, or a smaller error."""
  figures = _figures(texts[unit])
  figure = figures[f"{change} from uniform, 95 % interval"]
  assert better in figure
  assert "← better" in figures["Δ NLL from uniform, 95 % interval"]
  ticks = [
    float(tick.replace("−", "-"))
    for tick in re.findall(r">([−\d.]+)</text>", figure)
  ]
  assert max(ticks, key=abs) * {"classes": 1, "numbers": -1}[unit] > 0


@pytest.mark.parametrize(
  "pair",
  [
    ("training loss, mean ± std over seeds",
     "validation loss, mean ± std over seeds"),
    ("kl: weights, mean ± std over seeds",
     "mi, auto: weights, mean ± std over seeds"),
    ("kl: weights of test examples", "mi, auto: weights of test examples"),
    ("kl: correctness by weight", "mi, auto: correctness by weight"),
    ("kl: information by modality", "mi, auto: information by modality"),
  ],
)  # fmt: skip
def test_panels_side_by_side_share_their_scale(texts, pair):
  figures = _figures(texts["classes"])
  ticks = [
    # The labels of the vertical axis end left of it.
    set(
      re.findall(
        r'text-anchor: end[^"]*" x="[\d.]+" y="([\d.]+)"[^>]*>([\d.]+)<',
        figures[title],
      )
    )
    for title in pair
  ]
  assert len(ticks[0]) > 2
  assert ticks[0] == ticks[1]


def test_epochs_are_whole(texts):
  figure = _figures(texts["classes"])["validation loss, mean ± std over seeds"]
  middle = re.findall(r"text-anchor: middle[^>]*>([\d.]+)<", figure)
  assert len(middle) > 2
  assert all(re.fullmatch(r"\d+", tick) for tick in middle)


def test_dates_versions_and_terms_are_those_of_the_runs(texts, tmp_path):
  assert "finished 2026-11-02" in texts["both"]
  assert "finished 2026-11-01" in texts["classes"]
  problem = studies.problem(_METHODS)
  undated = run_files.write(tmp_path / "made", problem)
  undated.versions["btw_jax"] = "0.3.0"
  text = page.write(study_lib.problems([undated]))
  assert "finished" not in text
  assert "btw_jax 0.3.0" in text
  assert text == page.write(study_lib.problems([undated]))
  for term in ("auto", "strength, λ", "NLL", "▲, ▼", "Shapley value"):
    assert f"<dt>{term}</dt>" in text, term
  (tmp_path / "made/contribution.json").unlink()
  text = page.write(study_lib.problems([undated]))
  assert "Shapley value" not in text


def test_every_heading_and_table_has_its_place(texts):
  text = texts["both"]
  levels = [int(level) for level in re.findall(r"<h(\d)", text)]
  assert levels[0] == 1
  assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
  tables = text.count("<table>")
  # The overview, the ranks, and three of each data set.
  assert tables == 2 + 2 * 3
  assert text.count("<caption>") == tables
  assert "<th>" not in text
  for heading in ("Δ accuracy, points", "Δ MAE, unit of the target"):
    assert f'<th scope="col">{heading}</th>' in text
  for anchor in re.findall(r'<a href="#([^"]+)"', text):
    assert f'id="{anchor}"' in text


def test_figures_have_the_colours_of_the_palette_in_both_modes(texts):
  known = {*palette.LIGHT.drawn(), *palette.CELL_INKS}
  for title, figure in _figures(texts["both"]).items():
    rules, drawing = figure.split("</style>", 1)
    colors = set(re.findall(r"(?:fill|stroke)[:=] ?\"?(#\w{6})", drawing))
    assert palette.LIGHT.ink in colors, title
    assert colors <= known, title
    for light, dark in zip(
      palette.LIGHT.drawn(), palette.DARK.drawn(), strict=True
    ):
      assert f'[style*="fill: {light}"]' in rules
      assert f"{{ fill: {dark} !important; }}" in rules


def test_experts_of_a_balanced_method_are_shown(tmp_path):
  run = run_files.write(tmp_path / "made", studies.problem({"ogm": (0.0, 0.0)}))
  lines, equal, one = [], np.full((1, 1, 2, 4), 0.25), np.zeros((1, 1, 2, 4))
  one[..., 0] = 1.0
  for stage, name, values in (
    ("multimodal", "uniform", equal), ("ogm", "ogm@0.3", one)
  ):  # fmt: skip
    dataset_files.write_routing(
      tmp_path / "table.csv", values, runs=[(name, 0.0)], stage=stage
    )
    head, *rows = (tmp_path / "table.csv").read_text().splitlines()
    lines += rows
  (tmp_path / "made/routing.csv").write_text("\n".join([head, *lines]))
  figures = _figures(page.write(study_lib.problems([run])))
  colors = [
    re.findall(
      'data:image/png[^"]*', figures[f"{name}: experts of the last layer"]
    )
    for name in ("uniform", "ogm")
  ]
  assert colors[0] and colors[0][0] != colors[1][0]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "smallest"), [(1280, 11), (390, 10)])
def test_the_text_of_figures_is_large_enough(texts, tmp_path, width, smallest):
  report = browser.look(texts["both"], tmp_path, width)
  assert report["problems"] == []
  assert report["smallest"] >= smallest
