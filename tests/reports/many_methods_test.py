"""A page of many methods can be read: lines, columns and rows have limits."""

import re

import numpy as np
import pytest

from btw_jax.methods.balance import catalog
from btw_jax.reports import contributions
from btw_jax.reports import curves
from btw_jax.reports import page
from btw_jax.reports import palette
from btw_jax.reports import results
from btw_jax.reports import study
from support import browser
from support import run_files
from support import studies

_NAMES = ("gate", "kl", "kl+mi", "auto", *studies.BALANCED, "kl-ogm")


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
  """Returns a problem of 12 methods and the uniform model, with its files."""
  made = studies.problem(
    {name: (0.001 * n, 0.0) for n, name in enumerate(_NAMES)},
    tune=2,
    epoch_seconds={"rate": 1.0, "ogm": 2.0},
  )
  made.base.run.results["balance"] = {"ogm": {"does": "slows down encoders"}}
  folder = tmp_path_factory.mktemp("runs")
  (written,) = study.problems([run_files.write(folder / "made", made)])
  return written


@pytest.fixture(scope="module")
def text(problem):
  return page.write([problem])


@pytest.fixture(scope="module")
def figures(text):
  """Returns title -> SVG text; the data set before the title is left out."""
  return {
    name.partition(": ")[2]: figure
    for name, figure in browser.figures(text).items()
  }


def _lines(figure):
  """Returns the labels of the legend, which names of methods are."""
  return [t for t in re.findall(r">([^<>]+)</text>", figure) if t in _LABELS]


_LABELS = {"uniform", *_NAMES}


def test_no_plot_has_two_lines_of_one_style(figures):
  for title in ("training loss", "validation loss"):
    parts = [
      _lines(figures[f"{title} ({n} of 2), mean ± std over seeds"])
      for n in (1, 2)
    ]
    assert all(len(part) <= len(palette.LIGHT.series) for part in parts)
    assert all(part[0] == "uniform" for part in parts)
    assert [name for part in parts for name in part[1:]] == list(_NAMES)
  for n in (1, 2):
    assert f"calibration on the test split, all seeds ({n} of 2)" in figures


def test_few_methods_are_not_split():
  methods = dict.fromkeys("abcdefgh")
  assert curves.parts(methods) == [methods]
  first, second = curves.parts(methods | {"i": None})
  assert list(first) == list("abcde")
  assert list(second) == list("afghi")


def test_lines_are_those_of_the_methods_runs(problem):
  """The loss of ogm is in a stage and a run of its own."""
  for name, first in (("uniform", 2.0), ("ogm", 3.0), ("kl", 1.0)):
    method = problem.methods[name]
    where = {"stage": study.stage(method.choice), "split": "valid"}
    table = curves.read_table(method, "metrics.csv", ["loss"], **where)
    expected = first - 0.1 * np.arange(run_files.NUM_EPOCHS)
    assert table["loss"].shape == (run_files.NUM_EPOCHS, studies.SEEDS)
    np.testing.assert_allclose(table["loss"][:, 0], expected)


def test_weights_are_shown_where_there_are_any(figures):
  over_epochs = {
    t for t in figures if t.endswith("weights, mean ± std over seeds")
  }
  assert {t.partition(":")[0] for t in over_epochs} == {"kl", "kl+mi", "auto"}
  of_examples = {t for t in figures if t.endswith("weights of test examples")}
  assert {t.partition(":")[0] for t in of_examples} == {
    "kl", "kl+mi", "auto", "kl-ogm"
  }  # fmt: skip


def test_the_overview_has_a_row_per_method(problem):
  uniform, *rows = results.overview([problem])
  assert uniform["weighting"] == "uniform, its mean"
  assert uniform["made: Δ accuracy %"].startswith(
    f"{100 * studies.BASE.mean():.2f} ±"
  )
  assert [row["weighting"] for row in rows] == list(_NAMES)
  assert rows[0]["made: Δ accuracy %"] == "+0.00"
  assert rows[3]["made: Δ accuracy %"] == "+0.30 ▲"
  assert rows[3]["made: Δ NLL"] == "+0.000"
  few = studies.problem(dict.fromkeys(_NAMES[:8], (0.0, 0.0)))
  assert len(results.overview([few])) == 2


def test_contributions_of_many_methods_are_those_of_the_usual_ones(figures):
  figure = figures["contribution of each modality, 95 % interval"]
  assert _lines(figure) == ["uniform", "gate"]
  rows = [
    {
      "weighting": name, "modality": "a", "metric": "likelihood", "mean": 0.1,
      "interval": [0.0, 0.2],
    }
    for name in ("uniform", "ogm", "agm", "mla")
  ]  # fmt: skip
  assert _lines(contributions.panel(rows, ["uniform"]).svg) == [
    "uniform", "ogm", "agm", "mla"
  ]  # fmt: skip


def test_interference_of_many_methods_has_a_row_each(figures):
  figure = figures["decisions changed by noise, %"]
  places = dict(
    (name, (float(x), float(y)))
    for x, y, name in re.findall(
      r'x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', figure
    )
  )
  assert places["uniform"][0] == places["ogm"][0]
  assert places["uniform"][1] < places["gate"][1] < places["ogm"][1]
  # Noise in a changes 10 % of all models' decisions, noise in b 20 %.
  cells = re.findall(r'translate\(([\d.]+) [\d.]+\)">(10|20)</text>', figure)
  cells += re.findall(r'x="([\d.]+)"[^>]*>(10|20)</text>', figure)
  assert len(cells) == 2 * (1 + len(_NAMES))
  assert len(set(cells)) == 2


def test_the_glossary_says_what_methods_do(text):
  assert "<dt>ogm</dt><dd>A method that balances modalities. It slows" in text
  assert "<dt>cost</dt>" in text
  assert "<dt>imbalance</dt>" in text


def test_tables_of_the_page_are_those_of_the_text(problem, text):
  markdown = results.markdown([problem])
  for cell in ("weight of the unimodal losses", "0.001, 0.002", "Δ imbalance"):
    assert cell in markdown
    assert cell in text


def test_latex_has_a_command_for_every_symbol_of_a_setting():
  methods = dict.fromkeys(catalog.METHODS, (0.0, 0.0))
  known = dict(studies.BALANCED)
  try:
    for name in methods:
      setting = catalog.load(name).setting
      studies.BALANCED[name] = setting.name, setting.default
    made = studies.problem(methods, tune=2)
  finally:
    studies.BALANCED.clear()
    studies.BALANCED.update(known)
  table = results.latex([made])
  assert table.isascii()
  assert r"ogm ($\alpha$ = 0.6)" in table
  assert r"mmpareto ($\gamma$ = 3)" in table


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window(text, tmp_path, width):
  report = browser.look(text, tmp_path, width)
  assert report["problems"] == []
  assert report["smallest"] >= 10
