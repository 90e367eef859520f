import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.training import loop
from support import problems

pytestmark = pytest.mark.training


def _unsound(batch, row):
  """Returns a batch with one example whose gradient is not finite."""
  features = batch.features.at[row, 0, 0].set(jnp.inf)
  return batch._replace(
    features=features, present=batch.present.at[row].set(True)
  )


def test_gradients_that_are_not_finite_change_nothing():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)
  bad = train._replace(batch=_unsound(train.batch, 5))
  skipped, logs = [], []
  best = loop.fit(
    trainer, problems.WEIGHTED_AND_PLAIN, [0], bad, valid, num_epochs=3,
    callbacks=loop.Callbacks(
      on_epoch=lambda epoch, log: logs.append(log), on_skipped=skipped.extend
    ),
  )  # fmt: skip
  # The 48 examples make three batches; one is skipped in each epoch.
  for run in range(2):
    setting_steps = [step for step in skipped if step.setting == run]
    assert [step.epoch for step in setting_steps] == [0, 1, 2]
  for step in skipped:
    assert 5 in step.examples
    assert len(step.examples) == 16
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(best.params))
  for log in logs:
    assert np.sum(log["skipped"] > 0) == 2
    assert np.all(np.isfinite(log["weights"]))


def test_a_run_that_learns_from_nothing_is_ended():
  train, valid = problems.splits()
  trainer = dataclasses.replace(problems.trainer(), max_skipped=4)
  features = jnp.full_like(train.batch.features, jnp.inf)
  bad = train._replace(batch=train.batch._replace(features=features))
  with pytest.raises(
    errors.InputError, match="epoch 2, step 1: .* not finite 4 times in a row"
  ):
    problems.fit(trainer, problems.PLAIN, [0], bad, valid, num_epochs=5)


def test_a_run_that_learned_from_no_step_is_no_result():
  """Three skipped steps are all steps of the run, if fewer than allowed."""
  train, valid = problems.splits()
  everywhere = train.batch._replace(
    features=train.batch.features.at[:].set(jnp.inf)
  )
  trainer = dataclasses.replace(problems.trainer(), max_skipped=100)
  with pytest.raises(loop.DivergedError, match="epoch 1, .* 3 times in a row"):
    loop.fit(
      trainer, problems.PLAIN, [0], train._replace(batch=everywhere), valid,
      num_epochs=1,
    )  # fmt: skip


def test_a_run_without_a_finite_validation_loss_is_no_result():
  train, valid = problems.splits()
  lost = valid._replace(batch=_unsound(valid.batch, 2))
  with pytest.raises(loop.DivergedError, match="seed 7, has a finite validat"):
    loop.fit(problems.trainer(), problems.PLAIN, [7], train, lost, num_epochs=2)
