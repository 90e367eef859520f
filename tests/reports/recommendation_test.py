"""The recommendation is tested on results whose truth is known."""

import re

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from btw_jax.reports import gain_plot
from btw_jax.reports import recommendation
from btw_jax.reports import study
from support import studies


@pytest.mark.parametrize("unit", ["accuracy", "mae"])
def test_what_decides_better_is_used(unit):
  advice = recommendation.advise(
    studies.problem(
      {
        "kl": (-0.05 + studies.noise(0.01, 1), -0.2 + studies.noise(0.01, 2)),
        "mi": (0.02 + studies.noise(0.004, 3), studies.noise(0.01, 4)),
        "kl+mi": (
          0.03 + studies.noise(0.004, 5),
          -0.1 + studies.noise(0.01, 6),
        ),
        "auto": (studies.noise(0.01, 7), 0.3 + studies.noise(0.01, 8)),
      },
      unit=unit,
    )
  )
  assert (advice.method, advice.reason) == ("kl+mi", unit)
  assert advice.also == ["mi"]
  assert [(c.method, c.metric) for c in advice.worse] == [
    ("kl", unit), ("kl", "nll"), ("kl+mi", "nll")
  ]  # fmt: skip
  text = recommendation.text(advice)
  change = {"accuracy": "accuracy +3.00 points", "mae": "MAE -0.030"}[unit]
  start = f"made: use kl+mi. Compared with uniform: {change} ["
  assert text.startswith(start)
  low, high = re.search(r"\[(.*?), (.*?)\]", text).groups()
  assert float(low) < float(high)
  # 3 of 4 or 4 of 4 by Holm: the least p of 10 seeds is 2/1024.
  assert "p = .008 (significantly better); NLL +0.100 nats" in text
  assert text.count("p = .008 (significantly worse).") == 1
  name = {"accuracy": "accuracy", "mae": "MAE"}[unit]
  also = (
    f"Also significantly better in {name}, with an equal or smaller gain: mi."
  )
  assert also in text
  assert "Training cost: 2 unimodal models." in text
  assert (
    "Prediction cost: the unimodal models (1.5 times the parameters in total)"
    " and 2 passes through the multimodal model instead of 1."
  ) in text


def test_likelihood_alone_is_named_as_the_reason():
  likely = (studies.noise(0.01, 1), 0.2 + studies.noise(0.01, 2))
  advice = recommendation.advise(
    studies.problem({"mi": likely, "kl": (0.0, 0.0)})
  )
  assert (advice.method, advice.reason) == ("mi", "nll")
  text = recommendation.text(advice)
  assert text.startswith(
    "made: use mi, because of its likelihood. Compared with uniform:"
    " NLL -0.200 nats ["
  )
  assert "(significantly better); accuracy +0.00 points [" in text
  assert "p = 1.000 (no significant difference)." in text
  assert (
    "Prediction cost: none, because the weights of an example depend only on"
    " the modalities that it has."
  ) in text
  # A better likelihood does not outweigh significantly worse decisions.
  worse = (-0.05 + studies.noise(0.01, 1), likely[1])
  advice = recommendation.advise(studies.problem({"mi": worse}))
  assert (advice.method, advice.reason) == ("uniform", None)
  assert recommendation.text(advice).startswith(
    "made: use uniform. Methods that are significantly better in NLL, but"
    " significantly worse in accuracy: mi. Significantly worse than uniform:"
    " mi, accuracy -5.00 points ["
  )


def test_without_a_gain_beyond_chance_nothing_is_used():
  problem = studies.problem(
    {"kl": (0.002 + studies.noise(0.05, 1), studies.noise(0.05, 2))}
  )
  text = recommendation.text(recommendation.advise(problem))
  assert text == "made: use uniform. No other method is significantly better."
  # Three seeds are too few to decide.
  few = studies.problem({"kl": (0.1, 0.1)})
  for method in few.methods.values():
    for metric, values in method.row["metrics"].items():
      method.row["metrics"][metric] = values[:3]
  few.base.run.results["seeds"] = [0, 1, 2]
  (few,) = study.problems([few.base.run])
  assert recommendation.advise(few).reason is None
  assert recommendation.paragraphs([few]) == [
    "made: use uniform. The study cannot tell with 3 seeds if another method is"
    " better: after the correction for 1 comparison, the smallest possible"
    " p-value is 0.25. Train more seeds or compare fewer methods."
  ]
  assert not recommendation.limits([few])
  assert not recommendation.limits([problem])


def test_what_a_weighting_chose_is_told():
  gain = (0.05 + studies.noise(0.01, 1), 0.0)
  text = recommendation.text(
    recommendation.advise(studies.problem({"auto": gain}))
  )
  assert "use auto (it chose mi at strength 1)" in text
  assert (
    "Training cost: 9 runs to choose from, 2 unimodal models. Prediction cost:"
    " none, because"
  ) in text


def test_mitigated_methods_are_compared_with_the_plain_one():
  problem = studies.problem(
    {
      "uniform + heuristic": (0.05 + studies.noise(0.01, 1), 0.0),
      "mi + heuristic": (0.02 + studies.noise(0.01, 2), 0.0),
    }
  )
  assert problem.base.name == "uniform"
  assert list(problem.methods)[1:] == ["uniform + heuristic", "mi + heuristic"]
  text = recommendation.text(recommendation.advise(problem))
  assert "use uniform + heuristic" in text
  assert text.count("Training cost: mitigation (heuristic).") == 1
  assert "Prediction cost: none, because the weights are uniform." in text
  assert "unimodal model" not in text


@pytest.mark.training
@hypothesis.settings(max_examples=30)
@hypothesis.given(st.integers(0, 10**6))
def test_no_claim_goes_beyond_the_tests(seed):
  rng = np.random.default_rng(seed)
  problem = studies.problem(
    {
      name: tuple(
        rng.normal(scale=0.02) + 0.02 * rng.normal(size=(2, studies.SEEDS))
      )
      for name in ("kl", "mi", "kl+mi")
    }
  )
  advice, of = recommendation.advise(problem), problem.comparisons
  text = recommendation.text(advice)
  better = [c for c in of.values() if c.corrected < 0.05 and c.gain > 0]
  if advice.reason:
    chosen = of[advice.method, advice.reason]
    assert chosen in better
    assert chosen.gain == max(
      c.gain
      for c in better
      if c.metric == advice.reason
      and (advice.reason == "accuracy" or of[c.method, "accuracy"].verdict >= 0)
    )
    assert of[advice.method, "accuracy"].verdict >= 0
  else:
    assert not [c for c in better if c.metric == "accuracy"]
  for comparison in of.values():
    match = re.search(
      rf"(?:worse than uniform: |; ){re.escape(comparison.method)}, "
      + {"accuracy": "accuracy", "nll": "NLL"}[comparison.metric],
      text,
    )
    worse = comparison.corrected < 0.05 and comparison.gain < 0
    assert bool(match) == worse


def test_the_claim_of_less_spread_is_tested():
  spread = {
    "kl": (8 * (studies.BASE - studies.BASE.mean()), 0.0),
    "mi": (-0.95 * (studies.BASE - np.median(studies.BASE)), 0.0),
    "kl+mi": (0.1 * (studies.BASE - studies.BASE.mean()), 0.0),
  }
  (text,) = recommendation.spread([studies.problem(spread)])
  # The spreads are multiplied by 1 + 8, 1 − .95 and 1 + .1.
  assert text == (
    "Methods whose accuracy varies significantly less over seeds than that of"
    " the uniform model: mi on made (0.05 times the standard deviation)."
    " Methods whose accuracy varies significantly more over seeds than that of"
    " the uniform model: kl on made (9.00 times the standard deviation)."
  )
  (text,) = recommendation.spread([studies.problem({"kl": (0.1, 0.0)})])
  assert text.count("that of the uniform model: none.") == 2


def test_seeds_that_share_their_test_examples_are_named():
  drawn = studies.problem({"kl": (0.0, 0.0)})
  assert not recommendation.limits([drawn])
  given = studies.problem({"kl": (0.0, 0.0)}, name="files", dataset="npz")
  limits = recommendation.limits([drawn, given])
  assert limits[0].startswith("All seeds of files use the same test examples")
  drawn.base.run.config["split_per_seed"] = False
  assert (
    "All seeds of made use the same test" in recommendation.limits([drawn])[0]
  )


def test_one_weighting_alone_is_compared_with_nothing():
  alone = studies.problem({})
  (advice,) = recommendation.paragraphs([alone])
  assert advice.startswith(
    "made: use uniform. No other weighting was trained to compare it with."
  )
  assert "significantly" not in advice
  assert recommendation.spread([alone]) == []
  assert gain_plot.draw_gains(alone) == []


def test_results_of_validation_are_called_optimistic():
  problem = studies.problem({"kl": (0.0, 0.0)})
  problem.base.run.results["split"] = "valid"
  (limit,) = recommendation.limits([problem])
  assert limit.startswith("There is no test split of made: the results are of")


def _tested(alone, together):
  return {
    "alone": {"rise": 0.001, "corrected": alone},
    "exchanged": {"rise": 2.1, "corrected": together},
    "idle": alone >= 0.05 and together >= 0.05,
  }


def test_the_gate_is_advised_with_the_modalities_that_it_closes():
  problem = studies.problem(
    {"gate": (0.02 + studies.noise(0.004, 1), 0.1)},
    information={
      "a": _tested(0.4, 0.001), "b": _tested(0.9, 0.9), "c": _tested(0.001, 0.9)
    },
  )  # fmt: skip
  text = recommendation.text(recommendation.advise(problem))
  assert text.startswith("made: use gate (it chose the gate without b).")
  assert (
    "Idle modalities: b. They tell nothing alone, and the uniform model does"
    " not need them; the gate closes them."
  ) in text
  assert (
    "These modalities tell nothing alone, but the uniform model loses without"
    " them: a (2.10 nats). Keep them."
  ) in text
  assert text.endswith("and the closed modalities need not be computed.")


def test_a_baseline_is_named_but_never_advised():
  problem = studies.problem(
    {"mi": (studies.noise(0.1, 1), studies.noise(0.1, 2))},
    baselines={
      "ensemble": (0.05, -0.2),
      "best modality (a)": (-0.05, -0.2),
    },
  )
  advice = recommendation.advise(problem)
  assert advice.method == "uniform"
  assert advice.worse == []
  text = recommendation.text(advice)
  assert (
    "Without further training, ensemble is significantly better than uniform:"
    " accuracy +5.00 points"
  ) in text
  assert "best modality" not in text
  assert "No other method is significantly better." in text
