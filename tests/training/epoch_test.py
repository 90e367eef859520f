import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import chunked
from btw_jax import types
from btw_jax import weighting
from btw_jax.models import networks
from btw_jax.training import predictor
from btw_jax.training import vectorized_runs
from support import balances
from support import problems

pytestmark = pytest.mark.training


@pytest.mark.slow
def test_uniform_is_the_plain_model_bit_for_bit():
  train, valid = problems.splits()
  # Complete data: with modalities missing there is no plain model.
  train, valid = (
    s._replace(batch=problems.batch(s.batch.target.shape[0], seed))
    for seed, s in enumerate((train, valid))
  )
  alone = dataclasses.replace(problems.RULE, variants=("uniform",))
  plain = problems.trainer(problems.never_multiplied(networks.Concatenation))
  expected, plain_log = problems.fit(plain, problems.PLAIN, [0], train, valid)
  for rule in (problems.RULE, alone):
    weighted = problems.trainer(rule=rule)
    actual, log = problems.fit(weighted, problems.PLAIN, [0], train, valid)
    for a, b in problems.leaves(actual.params, expected.params):
      np.testing.assert_array_equal(a, b)
    for a, b in zip(log, plain_log, strict=True):
      np.testing.assert_array_equal(a["train_loss"], b["train_loss"])


@pytest.mark.slow
def test_vmapped_runs_equal_separate_runs():
  seeds = [3, 5]
  train, valid = problems.splits(seeds, task="regression")
  trainer = problems.trainer(
    rule=problems.RULE, task="regression", optimizer=problems.SMOOTH
  )
  together, _ = problems.fit(trainer, problems.WEIGHTED, seeds, train, valid)
  # Each of these settings and seeds runs as its own program.
  for r, s in ((0, 1), (1, 1), (2, 0)):
    seed_splits = [
      x._replace(unimodal=x.unimodal[s : s + 1]) for x in (train, valid)
    ]
    alone, _ = problems.fit(
      trainer, problems.WEIGHTED[r : r + 1], seeds[s : s + 1], *seed_splits
    )
    for a, b in problems.leaves(together, alone):
      np.testing.assert_allclose(a[r, s], b[0, 0], rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name, values",
  [("gblend", (2.0, 4.0)), ("modality_dropout", (0.2, 0.5)), ("umt", (1, 9))],
)
def test_vmapped_runs_of_a_method_equal_separate_runs(name, values):
  """Each value and seed has a state of its own, a UMT seed its teacher."""
  seeds = [3, 5]
  train, valid = problems.splits(seeds)
  trainer = balances.trainer(name, seeds=seeds, optimizer=problems.SMOOTH)
  specs = [
    vectorized_runs.RunSpec("uniform", 0.0, 1.0, balance=name, value=value)
    for value in values
  ]
  together, logs = problems.fit(trainer, specs, seeds, train, valid)
  for r, s in ((0, 1), (1, 0)):
    seed_splits = [
      x._replace(unimodal=x.unimodal[s : s + 1]) for x in (train, valid)
    ]
    alone, _ = problems.fit(trainer, [specs[r]], [seeds[s]], *seed_splits)
    for a, b in problems.leaves(together, alone):
      np.testing.assert_allclose(a[r, s], b[0, 0], rtol=2e-4, atol=2e-5)
  losses = logs[-1]["train_loss"]
  assert len(np.unique(losses)) == losses.size


def test_a_seed_starts_and_draws_the_same_for_every_weighting():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)
  cells = [
    vectorized_runs.RunSpec(v, 0.0, 1.0) for v in ("uniform", "kl", "mi")
  ]
  best, _ = problems.fit(trainer, cells, [0], train, valid)
  # At strength 0 all settings are equal.
  for (leaf,) in problems.leaves(best.params):
    np.testing.assert_array_equal(leaf[0], leaf[1])
    np.testing.assert_array_equal(leaf[0], leaf[2])


def test_unimodal_models_train_as_if_alone():
  train, valid = (
    types.Split(problems.batch(n, missing=0.3), None) for n in (48, 24)
  )
  trainer = problems.trainer(networks.Unimodal, dropout=0.0)
  together, _ = problems.fit(trainer, problems.PLAIN, [0], train, valid)
  # Another modality's data changed: the first model must not notice.
  changed = train.batch._replace(
    features=train.batch.features.at[:, 1].multiply(3.0)
  )
  moved, _ = problems.fit(
    trainer, problems.PLAIN, [0], types.Split(changed, None), valid
  )
  for a, b in problems.leaves(together.params, moved.params):
    np.testing.assert_array_equal(a[0, 0, 0], b[0, 0, 0])
    np.testing.assert_array_equal(a[0, 0, 2], b[0, 0, 2])
    assert np.any(a[0, 0, 1] != b[0, 0, 1])


def test_a_unimodal_model_learns_from_the_examples_that_have_it():
  train, valid = (
    types.Split(problems.batch(n, missing=0.3), None) for n in (48, 24)
  )
  trainer = problems.trainer(networks.Unimodal)
  absent = ~train.batch.present[:, 2]
  target = jnp.where(absent, (train.batch.target + 1) % 3, train.batch.target)
  other = train._replace(batch=train.batch._replace(target=target))
  first, second = (
    problems.fit(trainer, problems.PLAIN, [0], split, valid)[0]
    for split in (train, other)
  )
  for a, b in problems.leaves(first.params, second.params):
    np.testing.assert_array_equal(a[0, 0, 2], b[0, 0, 2])
    assert np.any(a[0, 0, 0] != b[0, 0, 0])


# The optimizer is so fast that the validation loss rises again.
_HASTY = optax.adamw(0.1)


@pytest.mark.slow
def test_the_best_epoch_is_the_one_kept():
  train, valid = problems.splits([0, 1])
  trainer = problems.trainer(rule=problems.RULE, optimizer=_HASTY)
  best, logs = problems.fit(
    trainer, problems.WEIGHTED, [0, 1], train, valid, num_epochs=8
  )
  losses = np.stack([log["valid_loss"] for log in logs])
  np.testing.assert_array_equal(best.loss, losses.min(0))
  np.testing.assert_array_equal(best.epoch, losses.argmin(0))
  assert np.any(best.epoch < 7)
  # The kept parameters reproduce the kept loss.
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(trainer.rule, problems.WEIGHTED), 0
  )
  outputs, _ = predictor.Predictor(trainer)(
    cell,
    vectorized_runs.select_setting(best.params, 0),
    vectorized_runs.select_setting(best.unseen_prior, 0),
    valid,
  )
  for s in range(2):
    loss = problems.loss(trainer, outputs[s], valid.batch)
    np.testing.assert_allclose(loss, best.loss[0, s], rtol=1e-5)


def test_every_unimodal_model_keeps_its_own_best_epoch():
  train, valid = (
    types.Split(problems.batch(n, seed, missing=0.3), None)
    for seed, n in enumerate((48, 24))
  )
  trainer = problems.trainer(networks.Unimodal, optimizer=_HASTY)
  best, logs = problems.fit(
    trainer, problems.PLAIN, [0], train, valid, num_epochs=8
  )
  losses = np.stack([log["valid_loss"] for log in logs])
  np.testing.assert_array_equal(best.epoch, losses.argmin(0))
  assert len(set(best.epoch[0, 0])) > 1
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(trainer.rule, problems.PLAIN), 0
  )
  outputs, _ = predictor.Predictor(trainer)(
    cell, vectorized_runs.select_setting(best.params, 0), None, valid
  )
  loss = problems.loss(trainer, outputs[0], valid.batch)
  np.testing.assert_allclose(loss, losses.min(0)[0, 0], rtol=1e-5)


@pytest.mark.parametrize(
  ("task", "divergence", "transform"),
  [
    ("multiclass", "kl", "none"),
    pytest.param("regression", "js", "rank", marks=pytest.mark.slow),
  ],
)
def test_a_refresh_follows_the_rule(task, divergence, transform):
  """The test repeats one epoch by hand; absent modalities weigh 0."""
  train, valid = problems.splits(task=task)
  rule = dataclasses.replace(
    problems.RULE, divergence=divergence, transform=transform
  )
  trainer = problems.trainer(rule=rule, dropout=0.0, task=task)
  choice = vectorized_runs.RunSpec("kl+mi", 1.0, 1.0)
  best, logs = problems.fit(trainer, [choice], [0], train, valid, num_epochs=1)
  params = vectorized_runs.select_setting(
    vectorized_runs.select_setting(best.params, 0), 0
  )
  present = train.batch.present

  @jax.jit
  def by_hand(params, batch, unimodal, loss):
    outputs, _ = trainer.network.apply(
      {"params": params},
      batch,
      weighting.multipliers(weighting.uniform(present), present),
      train=False,
    )
    weights = weighting.weigh(
      trainer.task.predict(unimodal),
      trainer.task.predict(outputs[0]),
      present=present,
      kind=divergence,
      transform=transform,
    )
    state = weighting.init(*present.shape, present)
    state = weighting.update(state, weights, loss)
    return weighting.prior(state.table, present)

  expected = by_hand(
    params, train.batch, train.unimodal[0], logs[0]["valid_loss"][0, 0, 0]
  )
  # A divergence near 0 is a difference of near numbers: float32 keeps three of
  # its digits.
  np.testing.assert_allclose(logs[0]["weights"][0, 0], expected, rtol=1e-3)
  np.testing.assert_allclose(logs[0]["alpha"][0, 0], 0.45, rtol=1e-6)


def test_weights_rest_between_refreshes():
  train, valid = problems.splits()
  rule = dataclasses.replace(problems.RULE, refresh_every=3)
  trainer = problems.trainer(rule=rule)
  _, logs = problems.fit(
    trainer, problems.WEIGHTED[:1], [0], train, valid, num_epochs=5
  )
  weights = [log["weights"][0, 0] for log in logs]
  np.testing.assert_array_equal(weights[0], weights[1])
  np.testing.assert_array_equal(weights[1], weights[2])
  assert np.any(weights[2] != weights[3])


def test_the_noise_modality_loses_its_weight():
  seeds = range(6)
  train, valid = problems.splits(seeds)
  trainer = problems.trainer(rule=problems.RULE)
  choice = vectorized_runs.RunSpec("mi", 1.0, 1.0)
  _, logs = problems.fit(trainer, [choice], seeds, train, valid, num_epochs=10)
  weights = logs[-1]["weights"][0].mean(axis=0)
  np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)
  assert weights[2] < 0.5 * min(weights[0], weights[1])


def test_features_of_absent_modalities_are_never_felt():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)
  best, _ = problems.fit(trainer, problems.WEIGHTED[:1], [0], train, valid)
  absent = ~train.batch.present[..., None]
  poisoned = train._replace(
    batch=train.batch._replace(
      features=jnp.where(absent, 7.0, train.batch.features)
    )
  )
  again, _ = problems.fit(trainer, problems.WEIGHTED[:1], [0], poisoned, valid)
  for a, b in problems.leaves(best.params, again.params):
    np.testing.assert_array_equal(a, b)


def test_targets_of_a_predicted_split_are_not_read():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)
  best, _ = problems.fit(trainer, problems.WEIGHTED[:1], [0], train, valid)
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(trainer.rule, problems.WEIGHTED), 0
  )
  unlabelled = valid._replace(batch=valid.batch._replace(target=None))
  results = [
    predictor.Predictor(trainer)(
      cell,
      vectorized_runs.select_setting(best.params, 0),
      vectorized_runs.select_setting(best.unseen_prior, 0),
      split,
    )
    for split in (valid, unlabelled)
  ]
  for a, b in problems.leaves(*results):
    np.testing.assert_array_equal(a, b)


def test_one_program_trains_all_epochs():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)
  traces = []

  def counted(outputs, target):
    traces.append(None)
    return trainer.task.loss(outputs, target)

  counting = dataclasses.replace(
    trainer, task=trainer.task._replace(loss=counted)
  )
  problems.fit(counting, problems.WEIGHTED, [0], train, valid, num_epochs=1)
  once = len(traces)
  traces.clear()
  problems.fit(counting, problems.WEIGHTED, [0], train, valid, num_epochs=6)
  assert len(traces) == once


@pytest.mark.slow
def test_a_set_in_parts_trains_as_the_whole(monkeypatch):
  """Weights, information and prior are computed in chunks."""
  trainer = problems.trainer(rule=problems.RULE, optimizer=problems.SMOOTH)
  train, valid = problems.splits()
  expected = problems.fit(
    trainer, problems.WEIGHTED, [0], train, valid, num_epochs=2
  )
  monkeypatch.setattr(chunked, "CHUNK_SIZE", 7)
  actual = problems.fit(
    trainer, problems.WEIGHTED, [0], train, valid, num_epochs=2
  )
  for a, b in problems.leaves(expected, actual):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
