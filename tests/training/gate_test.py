"""Training with closed modalities, and up to a given epoch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.models import networks
from btw_jax.training import predictor
from btw_jax.training import state as state_lib
from btw_jax.training import vectorized_runs
from support import problems

pytestmark = pytest.mark.training

GATE = vectorized_runs.RunSpec("gate", 1.0, 0.5, is_open=(True, True, False))


def _run_params(is_open):
  return state_lib.RunParams(
    jnp.int32(0), jnp.float32(1), jnp.float32(1), is_open
  )


def test_closed_modalities_are_missing_unless_an_example_has_no_other():
  present = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], bool)
  batch = types.Batch(None, jnp.asarray(present), None)
  gated = _run_params(jnp.array([True, True, False])).gate(batch).present
  expected = [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
  np.testing.assert_array_equal(gated, np.array(expected, bool))
  assert _run_params(None).gate(batch) is batch


def _hide(split, value):
  """Replaces the closed modality of examples that have others."""
  present = split.batch.present
  others = jnp.any(present[:, :2], axis=1)[:, None, None]
  closed = (jnp.arange(3) == 2)[:, None] & others
  features = jnp.where(closed, value, split.batch.features)
  return split._replace(batch=split.batch._replace(features=features))


@pytest.mark.parametrize(
  "network",
  [
    networks.Concatenation,
    pytest.param(problems.mixture(), marks=pytest.mark.slow),
  ],
)
def test_a_closed_modality_is_never_felt(network):
  train, valid = problems.splits()
  trainer = problems.trainer(network)
  outcomes = []
  for value in (0.0, 7.0):
    splits = [_hide(split, value) for split in (train, valid)]
    best, logs = problems.fit(trainer, [GATE], [0], *splits, num_epochs=2)
    run_params = vectorized_runs.select_setting(
      vectorized_runs.stack_params(trainer.rule, [GATE]), 0
    )
    params = vectorized_runs.select_setting(best.params, 0)
    predicted = predictor.Predictor(trainer)(
      run_params, params, None, splits[1]
    )
    outcomes.append((best.params, logs, predicted))
  for a, b in problems.leaves(*outcomes):
    np.testing.assert_array_equal(a, b)
  weights = outcomes[0][2][1][0]
  has_others = np.asarray(valid.batch.present)[:, :2].any(axis=1)
  np.testing.assert_array_equal(weights[has_others, 2], 0.0)
  np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-6)


def test_an_open_gate_is_the_uniform_model_bit_for_bit():
  train, valid = problems.splits()
  trainer = problems.trainer()
  everything = GATE._replace(is_open=(True,) * 3, scale=1.0)
  results = [
    problems.fit(trainer, [spec], [0], train, valid)
    for spec in (problems.PLAIN[0], everything)
  ]
  for a, b in problems.leaves(*results):
    np.testing.assert_array_equal(a, b)


def test_the_model_of_a_given_epoch_is_kept():
  """The unimodal models each have an epoch of their own."""
  train, valid = (s._replace(unimodal=None) for s in problems.splits())
  # With wrong labels the validation loss rises: its best epoch is the first.
  wrong = valid.batch._replace(target=(valid.batch.target + 1) % 3)
  valid = valid._replace(batch=wrong)
  trainer = problems.trainer(networks.Unimodal)
  kept, _ = problems.fit(
    trainer,
    [problems.PLAIN[0]._replace(last_epoch=(0, 2, 1))],
    [0],
    train,
    valid,
    num_epochs=4,
  )
  np.testing.assert_array_equal(kept.epoch[0, 0], [0, 2, 1])
  for last in range(3):
    # Parameters after `last + 1` epochs, whatever the validation loss is.
    spec = problems.PLAIN[0]._replace(last_epoch=(last,) * 3)
    after, _ = problems.fit(
      trainer, [spec], [0], train, valid, num_epochs=last + 1
    )
    models = trainer.network.model_ids(
      jax.tree.map(lambda x: x[0, 0], kept.params)
    )
    for a, b, ids in problems.leaves(kept.params, after.params, models):
      same = np.isin(ids, np.flatnonzero(kept.epoch[0, 0] == last))
      np.testing.assert_array_equal(a[0, 0][same], b[0, 0][same])


def test_information_can_be_taken_from_validation():
  """Predictions of noise on the training examples do not matter then."""
  train, valid = problems.splits()
  rng = np.random.default_rng(0)
  noisy = jnp.asarray(rng.normal(size=train.unimodal.shape), jnp.float32)
  spec = vectorized_runs.RunSpec("mi", 1.0, 1.0)
  weights = {}
  for source in ("train", "valid"):
    rule = dataclasses.replace(problems.RULE, information_from=source)
    for name, unimodal in (("own", train.unimodal), ("noise", noisy)):
      _, logs = problems.fit(
        problems.trainer(rule=rule),
        [spec],
        [0],
        train._replace(unimodal=unimodal),
        valid,
        num_epochs=3,
      )
      weights[source, name] = logs[-1]["weights"][0, 0]
  np.testing.assert_array_equal(
    weights["valid", "own"], weights["valid", "noise"]
  )
  assert np.any(weights["train", "own"] != weights["train", "noise"])
  assert np.any(weights["train", "own"] != weights["valid", "own"])
