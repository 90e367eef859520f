import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax import weighting
from btw_jax.models import networks
from btw_jax.pipeline import modality_tests
from support import problems

# The losses of a modality's models: (tells something alone, is needed).
_PHRASES = {
  (True, True): "tells something alone (1.000 nats, p < .001), and the model"
  " needs it: 1.000 nats, p < .001",
  (True, False): "tells something alone (1.000 nats, p < .001), but the model"
  " does not need it: 0.010 nats, p = .400",
  (False, True): "tells nothing alone (0.010 nats, p = .400), but the model"
  " needs it together with others: 1.000 nats, p < .001",
  (False, False): "idle: tells nothing alone (0.010 nats, p = .400), and the"
  " model does not need it: 0.010 nats, p = .400",
}


def _entry(tells, needed):
  made = {
    True: {"rise": 1.0, "corrected": 1e-5, "num_examples": 20},
    False: {"rise": 0.01, "corrected": 0.4, "num_examples": 20},
  }
  idle = not (tells or needed)
  return {"alone": made[tells], "exchanged": made[needed], "idle": idle}


@pytest.mark.parametrize("case", _PHRASES)
def test_a_line_says_what_a_modality_tells(case):
  assert modality_tests.describe(_entry(*case)) == _PHRASES[case]


def test_a_line_says_if_there_were_too_few_examples():
  tests = _entry(True, True)
  tests["alone"] = tests["alone"] | {"num_examples": 1}
  assert modality_tests.describe(tests) == (
    "not tested: 1 validation example can exchange it, 20 are needed"
  )


def test_the_gate_never_closes_everything():
  tested = {"a": _entry(True, False), "b": _entry(False, False)}
  assert modality_tests.is_open(tested) == (True, False)
  assert modality_tests.is_open({"b": tested["b"]}) == (True,)
  assert modality_tests.is_open({}) == ()


def test_a_warning_says_if_nothing_tells_anything(caplog):
  with caplog.at_level(logging.WARNING, logger="absl"):
    modality_tests.log({"a": _entry(True, False), "b": _entry(False, False)})
    assert not caplog.records
    modality_tests.log({"b": _entry(False, False)})
  assert "no modality tells anything on validation" in caplog.text


@pytest.mark.training
@pytest.mark.parametrize(
  "network",
  [
    networks.Concatenation,
    pytest.param(problems.mixture(placeholder=True), marks=pytest.mark.slow),
  ],
)
def test_losses_are_those_of_changed_examples(network):
  """Exchanging embeddings equals exchanging features and encoding them."""
  trainer = problems.trainer(network)
  batch = problems.batch(12, missing=0.3)
  params = trainer.init(0, types.Split(batch, None)).train.params
  unimodal = jnp.asarray(
    np.random.default_rng(0).normal(size=(3, 12, 3)), jnp.float32
  )
  losses = modality_tests._model(trainer, params, 0.5, batch, unimodal)
  donors = jnp.asarray(np.roll(np.arange(12), 5))

  def loss(features, present):
    changed = batch._replace(features=features, present=present)
    multipliers = weighting.multipliers(
      weighting.uniform(present), present, scale=0.5
    )
    outputs, _ = trainer.network.apply(
      {"params": params}, changed, multipliers, train=False
    )
    return trainer.task.nll(outputs[0], batch.target)

  m = 1
  expected = loss(
    batch.features.at[:, m].set(batch.features[donors, m]),
    batch.present.at[:, m].set(batch.present[donors, m]),
  )
  alone, together = losses(m, donors, False)
  np.testing.assert_allclose(together, expected, rtol=1e-4)
  np.testing.assert_allclose(
    alone, trainer.task.nll(unimodal[m, donors], batch.target), rtol=1e-5
  )
  numbers = jnp.arange(12)
  np.testing.assert_allclose(
    losses(m, numbers, False)[1],
    loss(batch.features, batch.present),
    rtol=1e-4,
  )
  without = batch.present.at[:, m].set(False)
  np.testing.assert_allclose(
    losses(m, numbers, True)[1], loss(batch.features, without), rtol=1e-4
  )


@pytest.mark.training
def test_the_modalities_that_show_the_target_are_not_idle():
  """The last of the three modalities is noise; two seeds share examples."""
  train, _ = problems.splits((0, 1))
  batch = problems.batch(60, seed=1, missing=0.2)
  rng = np.random.default_rng(0)
  signal = np.array([3.0, 1.0, 0.0])[:, None, None]
  unimodal = signal * np.eye(3)[batch.target] + rng.normal(size=(2, 3, 60, 3))
  valid = types.Split(batch, jnp.asarray(unimodal, jnp.float32))
  trainer = problems.trainer()
  best, _ = problems.fit(
    trainer, problems.PLAIN, [0, 1], train, valid, num_epochs=12
  )
  params = jax.tree.map(lambda x: x[0], best.params)
  names = ["strong", "weaker", "noise"]
  tested = modality_tests.measure(
    trainer, params, 1.0, valid, [np.arange(60)], names, [0, 1], 20
  )
  assert list(tested) == names
  assert tested["noise"]["idle"] and not tested["strong"]["idle"]
  assert tested["strong"]["alone"]["rise"] > tested["noise"]["alone"]["rise"]
  for m, tests in enumerate(tested.values()):
    for name in ("alone", "exchanged", "absent"):
      test = tests[name]
      assert test["corrected"] >= test["p_value"]
      assert test["error"] > 0
    assert tests["alone"]["num_examples"] == int(batch.present[:, m].sum())


def test_a_warning_names_the_modality_whose_predictions_repeat(caplog):
  """Half of the predictions of audio are 0; so are absent ones of text."""
  values = np.random.default_rng(0).normal(size=(1, 2, 100, 2))
  values[0, 1, :50, 0] = 0
  values[0, 0, 50:, 0] = 0
  present = np.ones((100, 2), bool)
  present[50:, 0] = False
  batch = types.Batch(None, present, None)
  with caplog.at_level(logging.WARNING):
    modality_tests.warn_of_ties(types.Split(batch, values), ("text", "audio"))
  (record,) = caplog.records
  assert "modality 'audio': 50 % of its predictions" in record.getMessage()
