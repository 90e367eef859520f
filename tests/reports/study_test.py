"""The comparisons of a study are tested on results whose truth is known."""

import pytest

from btw_jax.reports import recommendation
from btw_jax.reports import study
from support import studies


def test_the_plain_model_is_compared_with_wherever_it_stands():
  plain = studies.problem({"kl": (0.1, 0.0), "kl + heuristic": (0.2, 0.0)})
  runs = [m.run for m in plain.methods.values()]
  for run in runs:
    run.results["rows"].sort(key=lambda row: row["name"])
  (turned,) = study.problems(runs[::-1])
  assert turned.base.name == "uniform"
  for name, gain in (("kl", 0.1), ("kl + heuristic", 0.2)):
    comparison = turned.comparisons[name, "accuracy"]
    assert comparison.gain == pytest.approx(gain)


def test_p_values_are_corrected_within_a_problem():
  problems = [
    studies.problem({"kl": (0.05, 0.0), "mi": (0.05, 0.0)}, name=name)
    for name in ("one", "two")
  ]
  comparisons = [c for p in problems for c in p.comparisons.values()]
  assert len(comparisons) == 8
  for comparison in comparisons:
    # Two methods: twice the least p of ten seeds.
    expected = 2 * 2 / 2**10 if comparison.metric == "accuracy" else 1.0
    assert comparison.corrected == pytest.approx(expected)
  assert any("one of these 2 with a probability of up to 10 %" in line
             for line in recommendation.limits(problems))  # fmt: skip


def _with_minmax(**others):
  """Returns runs with the usual weights, and with min-max weights."""
  usual = studies.problem(
    {"kl": (0.1, 0.0), "gate": (0.0, 0.0), "ogm": (0.0, 0.0)}
  )
  minmax = studies.problem(others, normalise="minmax")
  # The runs have folders of their own.
  run = minmax.base.run._replace(path=minmax.base.run.path / "minmax")
  return [usual.base.run, run]


def test_minmax_weights_are_methods_of_the_same_problem():
  runs = _with_minmax(
    **{"kl": (0.2, 0.0), "gate": (0.5, 0.0), "ogm": (0.5, 0.0)},
    **{"kl-ogm": (0.3, 0.0), "mi": (0.4, 0.0), "kl+mi": (0.6, 0.0)},
  )
  for ordered in (runs, runs[::-1]):
    (problem,) = study.problems(ordered)
    gains = {
      name: round(c.gain, 6)
      for (name, metric), c in problem.comparisons.items()
      if metric == "accuracy"
    }
    # What needs no divergence is that of the usual run, if it is there.
    assert gains == {
      "kl": 0.1, "gate": 0.0, "ogm": 0.0, "kl (min-max)": 0.2,
      "kl-ogm (min-max)": 0.3, "mi": 0.4, "kl+mi (min-max)": 0.6,
    }  # fmt: skip
    assert problem.base.name == "uniform"
    assert problem.base.run.config["normalise"] == "rows"
    assert problem.methods["kl (min-max)"].weighting == "kl"


def test_minmax_weights_alone_have_their_own_base():
  _, run = _with_minmax(**{"kl + heuristic": (0.1, 0.0), "kl+mi": (0.2, 0.0)})
  (problem,) = study.problems([run])
  assert list(problem.methods) == ["uniform", "kl+mi (min-max)"]
  del run.config["normalise"]
  (problem,) = study.problems([run])
  assert list(problem.methods) == ["uniform", "kl+mi"]


def test_mitigations_follow_the_way_of_normalising():
  minmax = studies.problem(
    {"kl": (0.0, 0.0), "kl + heuristic": (0.1, 0.0)}, normalise="minmax"
  )
  assert list(minmax.methods) == [
    "uniform", "kl (min-max)", "kl (min-max) + heuristic"
  ]  # fmt: skip
