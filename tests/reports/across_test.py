"""Tables over data sets, on results whose truth is known."""

import numpy as np
import pytest

from btw_jax.reports import across
from support import studies

_BETTER = (0.05 + studies.noise(0.001, 1), 0.0)
_WORSE = (-0.02 + studies.noise(0.001, 2), -0.1)


@pytest.fixture
def problems():
  """Returns two data sets; umt is on the second one only."""
  return [
    studies.problem(
      {"ogm": _BETTER, "agm": _WORSE},
      name="first",
      tune=2,
      epoch_seconds={"rate": 1.0, "ogm": 1.5, "agm": 3.0},
      baselines={"ensemble": _BETTER, "uniform without idle": _BETTER},
    ),
    studies.problem(
      {"ogm": (0.0, 0.0), "agm": _WORSE, "umt": _BETTER},
      name="second",
      tune=2,
      epoch_seconds={"rate": 1.0, "ogm": 2.5},
      baselines={"ensemble": (0.0, 0.0)},
    ),
  ]


def test_a_method_has_a_row_and_the_best_mean_rank_comes_first(problems):
  rows = across.changes(problems, 0)
  by_method = {row["method"]: row for row in rows}
  first, second = "first, accuracy %", "second, accuracy %"
  assert list(rows[0]) == ["method", first, second, "mean rank", "cost"]
  assert by_method["uniform"][first] == f"{100 * studies.BASE.mean():.2f}"
  gain = 100 * np.mean(_BETTER[0])
  assert by_method["ogm"][first] == f"{gain:+.2f} ▲"
  assert by_method["ogm"][second] == "+0.00"
  assert by_method["agm"][first].endswith(" ▼")
  assert by_method["umt"][first] == "" and by_method["umt"]["mean rank"] == ""
  assert by_method["ensemble"][first].endswith(" ▲")
  # A baseline that a data set lacks has no row.
  assert "uniform without idle" not in by_method
  ranks = [float(row["mean rank"]) for row in rows if row["mean rank"]]
  assert ranks == sorted(ranks) and rows[-1]["method"] == "umt"
  assert by_method["agm"]["mean rank"] == "4.0"
  # The median of 1.5 and 2.5; the second data set does not know that of agm.
  assert by_method["ogm"]["cost"] == "2.0" and by_method["agm"]["cost"] == "3.0"
  assert by_method["ensemble"]["cost"] == ""


def test_the_summary_names_the_data_sets_with_a_difference(problems):
  rows = across.summary(problems)
  changes = across.changes(problems, 0)
  order = [row["method"] for row in changes if row["method"] != "uniform"]
  assert [row["method"] for row in rows] == order
  by_method = {row["method"]: row for row in rows}
  assert by_method["ogm"] == {
    "method": "ogm", "better on": "first (accuracy)", "worse on": "",
    "mean rank": next(r["mean rank"] for r in changes if r["method"] == "ogm"),
    "cost": "2.0",
  }  # fmt: skip
  worse = "first (accuracy, NLL), second (accuracy, NLL)"
  assert by_method["agm"]["worse on"] == worse
  assert by_method["ensemble"]["better on"] == "first (accuracy)"


def test_the_likelihood_is_a_table_of_its_own(problems):
  rows = {row["method"]: row for row in across.changes(problems, 1)}
  assert rows["agm"]["first, NLL"].startswith("+0.100")
  # Three methods are equal, on both data sets.
  assert rows["ogm"]["mean rank"] == "2.0"
  assert rows["uniform"]["first, NLL"] == f"{studies.BASE.mean():.3f}"


def test_all_tables_of_a_study_are_written(problems):
  tables = across.write(problems)
  calibration = {row["method"]: row for row in tables["calibration"]}
  expected = f"{10 * studies.BASE.mean():.2f}"
  assert calibration["ogm"]["first"].startswith(expected)
  choices = {row["method"]: row for row in tables["choices"]}
  assert choices["ogm"] == {
    "method": "ogm", "first": "α = 0.6", "second": "α = 0.6"
  }  # fmt: skip
  assert choices["umt"]["first"] == ""
  # What has no value on any data set has no row.
  assert "ensemble" not in choices and tables["imbalance"] == []


def test_every_candidate_has_its_validation(problems):
  method = problems[0].methods["agm"]
  method.row["to_uniform"] = [
    {
      "variant": "uniform", "strength": 0.0, "scale": 1.0, "balance": "agm",
      "setting": "α", "value": value, "gain": gain, "gain_error": 0.002,
    }
    for value, gain in ((1.0, 0.01), (0.25, -0.003))
  ]  # fmt: skip
  (row,) = across.candidates(problems)
  assert row == {
    "data": "first, Δ accuracy %", "method": "agm",
    "candidate 1": "α = 0.25: -0.30 ± 0.20",
    "candidate 2": "α = 1: +1.00 ± 0.20",
  }  # fmt: skip


def test_a_smaller_error_is_a_gain():
  problem = studies.problem({"ogm": (np.full(10, 0.5), 0.0)}, unit="mae")
  (uniform, ogm) = across.changes([problem], 0)
  assert uniform["method"] == "uniform" and ogm["made, MAE"].startswith(
    "-0.500"
  )
  tried = {"variant": "uniform", "strength": 0.0, "balance": "ogm"}
  tried |= {"setting": "α", "value": 1.0, "gain": 0.5, "gain_error": 0.1}
  problem.methods["ogm"].row["to_uniform"] = [tried]
  (row,) = across.candidates([problem])
  assert row["candidate 1"] == "α = 1: -0.500 ± 0.100"
