"""Training with min-max weights, and prediction after it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from btw_jax import weighting
from btw_jax.training import model_checkpoints
from btw_jax.training import predictor
from btw_jax.training import vectorized_runs
from support import oracles
from support import problems

pytestmark = pytest.mark.training

RULE = dataclasses.replace(problems.RULE, normalise="minmax")
KL_MI = vectorized_runs.RunSpec("kl+mi", 1.0, 1.0)


def _first(tree):
  """Returns the first setting of `[R, S, ...]`."""
  return vectorized_runs.select_setting(tree, 0)


def _outputs(trainer, params, batch, factors):
  """Returns the outputs `[N, K]` of a model with factors of its embeddings."""
  outputs, _ = jax.jit(
    lambda *args: trainer.network.apply({"params": params}, *args, train=False)
  )(batch, jnp.asarray(factors, jnp.float32))
  return np.asarray(outputs[0])


def _factors(unimodal, outputs, present):
  """Returns k·g by the oracle, and the range of the divergence `[2, M]`."""
  p, q = (special.softmax(np.float64(x), -1) for x in (unimodal, outputs))
  ranges = [
    [
      reduce(
        oracles.categorical_kl(p[m, i], q[i])
        for i in np.flatnonzero(present[:, m])
      )
      for m in range(3)
    ]
    for reduce in (min, max)
  ]
  return oracles.minmax_factors(p, q, present, "kl+mi"), np.array(ranges)


def test_an_epoch_by_hand():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=RULE, dropout=0.0)
  best, logs = problems.fit(trainer, [KL_MI], [0], train, valid, num_epochs=1)
  params, prior = jax.tree.map(
    lambda x: x[0, 0], (best.params, best.unseen_prior)
  )
  present = np.asarray(train.batch.present)
  outputs = _outputs(trainer, params, train.batch, present)
  factors, (low, high) = _factors(train.unimodal[0], outputs, present)
  # The moving average starts at the plain model, of factor 1, with α = .5.
  means = [np.mean(0.5 + 0.5 * factors[present[:, m], m]) for m in range(3)]
  np.testing.assert_allclose(
    logs[0]["weights"][0, 0], np.array(means) / 3, rtol=1e-3
  )
  np.testing.assert_allclose(
    prior.information["min_divergence"], low, rtol=1e-2
  )
  np.testing.assert_allclose(
    prior.information["max_divergence"], high, rtol=1e-3
  )


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_unseen_examples_by_hand(strength):
  """They start from the prior, and take the range of the training set."""
  train, valid = problems.splits()
  trainer = problems.trainer(rule=RULE, dropout=0.0)
  best, _ = problems.fit(trainer, [KL_MI], [0], train, valid, num_epochs=1)
  mean = np.array([0.1, 0.2, 0.05])
  best_prior = _first(best.unseen_prior)._replace(prior=mean[None] / 3)
  params, prior = jax.tree.map(
    lambda x: x[0], (_first(best.params), best_prior)
  )
  low, high = (prior.information[f"{x}_divergence"] for x in ("min", "max"))
  present = np.asarray(valid.batch.present)
  start = mean * present
  mixed = (1 - strength) * present + strength * start
  outputs = _outputs(trainer, params, valid.batch, mixed)
  p, q = (special.softmax(x, -1) for x in (valid.unimodal[0], outputs))
  g = weighting.modality_weights(prior.information["mi"])
  expected = np.zeros(start.shape)
  for i, m in np.argwhere(present):
    divergence = oracles.categorical_kl(np.asarray(p)[m, i], q[i])
    place = (divergence - low[m]) / (high[m] - low[m])
    factor = 0.5 * np.clip(place, 0, 1) * g[m] + 0.5 * start[i, m]
    expected[i, m] = (1 - strength) + strength * factor
  run_params = _first(vectorized_runs.stack_params(RULE, [KL_MI]))
  _, weights = predictor.Predictor(trainer)(
    run_params._replace(strength=jnp.float32(strength)),
    _first(best.params),
    best_prior,
    valid,
  )
  actual = weighting.multipliers(weights[0], present)
  np.testing.assert_allclose(actual, expected, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_vmapped_runs_equal_separate_runs(task):
  """The settings have several variants and strengths in one program."""
  seeds = [3, 5]
  train, valid = problems.splits(seeds, task=task)
  trainer = problems.trainer(rule=RULE, task=task, optimizer=problems.SMOOTH)
  together, _ = problems.fit(trainer, problems.WEIGHTED, seeds, train, valid)
  for r, s in ((0, 1), (1, 0), (2, 0)):
    seed_splits = [
      x._replace(unimodal=x.unimodal[s : s + 1]) for x in (train, valid)
    ]
    alone, _ = problems.fit(
      trainer, problems.WEIGHTED[r : r + 1], seeds[s : s + 1], *seed_splits
    )
    for a, b in problems.leaves(together, alone):
      np.testing.assert_allclose(a[r, s], b[0, 0], rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_information_weights_are_the_usual_ones_in_the_same_run():
  train, valid = problems.splits()
  outcomes = [
    problems.fit(
      problems.trainer(rule=rule), problems.WEIGHTED, [0], train, valid
    )
    for rule in (RULE, problems.RULE)
  ]
  (minmax, minmax_logs), (rows, rows_logs) = outcomes
  variants = [spec.variant for spec in problems.WEIGHTED]
  for r, variant in enumerate(variants):
    weights = [logs[-1]["weights"][r, 0] for logs in (minmax_logs, rows_logs)]
    if variant == "mi":
      np.testing.assert_allclose(*weights, rtol=1e-5)
      np.testing.assert_allclose(minmax.loss[r], rows.loss[r], rtol=1e-5)
      for a, b in problems.leaves(minmax.params, rows.params):
        np.testing.assert_allclose(a[r], b[r], rtol=1e-4, atol=1e-6)
    else:
      np.testing.assert_allclose(weights[1].sum(), 1, rtol=1e-5)
      assert weights[0].sum() < 0.97


def test_a_checkpoint_predicts_as_before(tmp_path):
  train, valid = problems.splits()
  trainer = problems.trainer(rule=RULE)
  best, _ = problems.fit(trainer, [KL_MI], [0], train, valid, num_epochs=2)
  models = model_checkpoints.Multimodal(
    _first(best.params),
    _first(best.unseen_prior),
    _first(vectorized_runs.stack_params(RULE, [KL_MI])),
  )
  model_checkpoints.save(tmp_path, "kl+mi", models)
  loaded = model_checkpoints.load(tmp_path, "kl+mi", models)
  expected, actual = (
    predictor.Predictor(trainer)(m.run_params, m.params, m.unseen_prior, valid)
    for m in (models, loaded)
  )
  for a, b in problems.leaves(expected, actual):
    np.testing.assert_array_equal(a, b)
