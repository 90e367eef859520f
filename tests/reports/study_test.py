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
