"""The settings of methods are told as the results of their runs hold them."""

import pytest

from btw_jax.reports import curves
from btw_jax.reports import results
from btw_jax.reports import study
from btw_jax.reports import tuning
from btw_jax.training import vectorized_runs
from support import studies

_NOTHING = (0.0, 0.0)


def _rows(problem):
  return {
    (row["weighting"], row["setting"]): row for row in tuning.rows(problem)
  }


@pytest.mark.parametrize(
  "spec",
  [
    vectorized_runs.RunSpec("uniform", 0.0, 1.0),
    vectorized_runs.RunSpec("kl+mi", 0.5, 1.0),
    vectorized_runs.RunSpec("uniform", 0.0, 1.0, balance="ogm", value=0.3),
    vectorized_runs.RunSpec("kl+mi", 1.0, 1.0, balance="mla", value=1e-4),
    vectorized_runs.RunSpec("uniform", 0.0, 1.0, balance="ogm"),
  ],
)
def test_runs_are_named_as_training_names_them(spec):
  choice = {
    "variant": spec.variant, "strength": spec.strength,
    "balance": spec.balance, "value": spec.value,
  }  # fmt: skip
  assert study.run_name(choice) == spec.run_name
  assert study.stage(choice) == (spec.balance or "multimodal")


def test_the_table_names_every_candidate_and_the_choice():
  names = ("kl+mi", "gate", "auto", "unimodal_losses", "kl+mi-ogm")
  rows = _rows(studies.problem(dict.fromkeys(names, _NOTHING), tune=4))

  def cells(name, setting):
    row = rows.pop((name, setting))
    assert row["learning rate"] == "0.004"
    return row["candidates"], row["chosen"]

  assert cells("uniform", "embedding scale") == ("1, 0.5", "0.5")
  assert cells("uniform", "learning rate") == (
    "0.001, 0.002, 0.003, 0.004", "0.004"
  )  # fmt: skip
  assert cells("kl+mi", "λ") == ("1, 0.75, 0.5, 0.25", "0.25")
  assert cells("gate", "closed modalities") == (
    "uniform; without b", "without b"
  )  # fmt: skip
  assert cells("auto", "weighting") == (
    "uniform; kl+mi, λ = 0.25, 0.5, 0.75, 1; mi, λ = 0.25, 0.5, 0.75, 1",
    "mi, λ = 1",
  )
  setting = "weight of the unimodal losses"
  assert cells("unimodal_losses", setting) == ("1, 2, 3, 4", "4")
  assert cells("kl+mi-ogm", "α") == ("0.3, 0.6, 0.9, 1.2", "1.2")
  assert not rows


def test_without_tuning_there_is_one_candidate():
  problem = studies.problem({"mi": _NOTHING, "ogm": _NOTHING})
  rows = _rows(problem)
  assert rows["mi", "λ"]["candidates"] == rows["mi", "λ"]["chosen"] == "1"
  assert rows["ogm", "α"]["candidates"] == "0.3"
  assert rows["uniform", "learning rate"]["candidates"] == "0.001"
  assert not tuning.is_tuned(problem.base)


def test_results_of_earlier_versions_tell_how_many_candidates():
  problem = studies.problem({"auto": _NOTHING, "mi": _NOTHING})
  for method in problem.methods.values():
    del method.row["first"]
    del method.run.results["learning_rates"], method.run.results["tune"]
    break
  del problem.methods["auto"].row["first"], problem.methods["mi"].row["first"]
  rows = _rows(problem)
  assert rows["auto", "λ"]["candidates"] == "1"
  assert rows["uniform", "learning rate"]["chosen"] == "0.001"


def test_runs_may_differ_in_how_many_candidates_they_tune():
  """The learning rate of each run is that of its own uniform model."""
  tuned = studies.problem({"mi": _NOTHING, "ogm": _NOTHING}, tune=4)
  other = studies.problem({"mi + heuristic": (0.1, 0.0)})
  runs = [tuned.base.run, other.methods["mi + heuristic"].run]
  (both,) = study.problems(runs)
  rows = _rows(both)
  assert rows["mi", "λ"]["learning rate"] == "0.004"
  assert rows["mi + heuristic", "λ"]["learning rate"] == "0.001"
  text = "\n".join(results.held_fixed(both))
  assert "AdamW with learning rates that the table of settings gives" in text
  assert "mi + heuristic" in results.markdown([both])


def test_a_balanced_model_is_another_one_than_the_uniform_model():
  names = ("gate", "ogm", "agm", "kl-ogm", "kl")
  problem = studies.problem(dict.fromkeys(names, _NOTHING))
  problem.methods["gate"].row["choice"] = problem.base.choice
  methods = problem.methods.values()
  assert list(curves.distinct_methods(methods)) == [
    "uniform, gate", "ogm", "agm", "kl-ogm", "kl"
  ]  # fmt: skip
  # So are two values of a method.
  choice = dict(problem.methods["ogm"].choice, value=0.8)
  other = problem.methods["ogm"]._replace(
    name="ogm@0.8", row=problem.methods["ogm"].row | {"choice": choice}
  )
  pair = [problem.methods["ogm"], other]
  assert list(curves.distinct_methods(pair)) == ["ogm", "ogm@0.8"]
  # Examples have weights, but weights.csv does not hold those of kl-ogm.
  assert list(curves.weighted_methods(methods)) == ["kl-ogm", "kl"]
  assert list(curves.logged_methods(methods)) == ["kl"]
