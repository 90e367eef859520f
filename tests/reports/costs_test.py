"""Costs are told on results whose times are known."""

import pytest

from btw_jax.reports import costs
from btw_jax.reports import recommendation
from btw_jax.reports import results
from support import studies

_NOTHING = (0.0, 0.0)


def _costs(seconds, *names):
  problem = studies.problem(
    dict.fromkeys(names, _NOTHING),
    epoch_seconds=seconds,
    baselines={"ensemble": _NOTHING},
  )
  return {row["weighting"]: row.get("cost") for row in results.rows(problem)}


def test_the_cost_is_relative_to_the_stage_that_trains_uniform_alone():
  seconds = {"rate": 0.5, "multimodal": 0.6, "ogm": 1.0, "gate": 0.4}
  assert _costs(seconds, "kl", "gate", "ogm", "agm") == {
    "uniform": "1.0", "ensemble": "", "kl": "1.2", "gate (without b)": "0.8",
    "ogm (α = 0.3)": "2.0", "agm (α = 1)": "",
  }  # fmt: skip
  # Without another weighting, "multimodal" is a stage of uniform alone.
  del seconds["rate"]
  assert _costs(seconds, "gate", "ogm")["ogm (α = 0.3)"] == "1.7"
  # With another one, its time is that of both.
  assert set(_costs(seconds, "kl", "ogm").values()) == {None}
  assert set(_costs({}, "gate", "ogm").values()) == {None}


def test_the_legend_explains_the_column_where_there_is_one():
  for seconds, shown in (({"multimodal": 1.0, "ogm": 2.0}, True), ({}, False)):
    problem = studies.problem({"ogm": _NOTHING}, epoch_seconds=seconds)
    assert (costs.LEGEND in results.legend([problem])) == shown


def _advice(name, **options):
  gain = (0.05 + studies.noise(0.01, 1), 0.0)
  problem = studies.problem({name: gain}, **options)
  return recommendation.text(recommendation.advise(problem))


@pytest.mark.parametrize(
  ("name", "training", "prediction"),
  [
    ("ogm", "a further pass for each modality in every step", "none, because"),
    ("modality_dropout", "none", "none, because the weights are uniform"),
    (
      "umt",
      "a pass through the unimodal models in every step, 2 unimodal models,"
      " which prediction does not need",
      "none, because the weights are uniform",
    ),
    (
      "mla",
      "a step for each modality on every batch",
      "that of its own network, which is smaller than the multimodal network",
    ),
    (
      "kl-ogm",
      "a further pass for each modality in every step, 2 unimodal models",
      "the unimodal models (1.5 times the parameters in total)",
    ),
  ],
)
def test_advice_names_what_a_balancing_method_needs(name, training, prediction):
  text = _advice(name)
  assert f"use {name}. Compared with" in text
  assert f"Training cost: {training}." in text
  assert f"Prediction cost: {prediction}" in text


def test_advice_counts_candidates_and_time():
  seconds = {"rate": 0.5, "modality_dropout": 0.7}
  text = _advice("modality_dropout", tune=3, epoch_seconds=seconds)
  assert "use modality_dropout (it chose rate = 0.6)" in text
  assert (
    "Training cost: 3 runs to choose from, 1.4 times the time of an epoch."
  ) in text
