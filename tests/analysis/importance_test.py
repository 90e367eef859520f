"""The factors that weigh examples in the loss by their interaction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import predictions
from btw_jax import types
from btw_jax import weighting
from btw_jax.analysis import importance
from btw_jax.parallel import device_map
from btw_jax.training import loop
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule
from support import problems

RULE = weighting_rule.Rule(
  variants=("uniform", "pid"), examples=importance.IMPORTANCE
)


def _sure(classes, confidence=4.0):
  """Returns the logits of a model that is nearly certain."""
  return confidence * jax.nn.one_hot(classes, 2)


BY_INTERACTION = jax.jit(importance.by_interaction, static_argnums=3)


@pytest.mark.training
def test_examples_that_lean_on_one_modality_count_more():
  """The first modality decides half of the examples, both decide the others."""
  rng = np.random.default_rng(0)
  first, second = rng.integers(0, 2, (2, 400))
  leans = np.arange(400) < 200
  # Where both modalities are needed, the first model is uncertain.
  unsure = jnp.where(leans[:, None], _sure(first), 0.3 * _sure(first))
  unimodal = predictions.Categorical(jnp.stack([unsure, _sure(second)]))
  decided = np.where(leans, first, first ^ second)
  factors = BY_INTERACTION(
    unimodal, predictions.Categorical(_sure(decided)), jnp.ones((400, 2), bool)
  )
  assert factors[leans].mean() > 1.2 > 1 > factors[~leans].mean()
  assert np.all((factors > 0) & (factors < 3))
  np.testing.assert_allclose(factors.mean(), 1.0, rtol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize("kind", ["classes", "labels", "quantity"])
def test_shares_of_a_set_count_as_the_whole(kind):
  """Modalities are missing; one example has none."""
  rng = np.random.default_rng(0)
  outputs = jnp.asarray(rng.normal(size=(4, 40, 3)))
  present = jnp.asarray(rng.random((40, 3)) < 0.7).at[3].set(False)
  make = {
    "classes": predictions.Categorical,
    "labels": predictions.Bernoulli,
    "quantity": lambda x: predictions.Gaussian(x[..., 0], jnp.exp(x[..., 1])),
  }[kind]
  unimodal, multimodal = make(outputs[:3]), make(outputs[3])
  full = BY_INTERACTION(unimodal, multimodal, present)

  def split(x, axis):
    shares = x.reshape(*x.shape[:axis], 4, 10, *x.shape[axis + 1 :])
    return jnp.moveaxis(shares, axis, 0)

  shares = jax.jit(
    jax.vmap(
      lambda p, q, present_rows: importance.by_interaction(
        p, q, present_rows, "devices"
      ),
      axis_name="devices",
    )
  )(
    jax.tree.map(lambda x: split(x, 1), unimodal),
    jax.tree.map(lambda x: split(x, 0), multimodal),
    split(present, 0),
  )
  np.testing.assert_allclose(shares.reshape(-1), full, rtol=1e-3)
  present_rows = np.any(present, axis=1)
  np.testing.assert_allclose(full[present_rows].mean(), 1.0, rtol=1e-5)
  assert full[present_rows].std() > 0.1


@pytest.mark.training
def test_a_step_descends_the_loss_of_what_counts():
  batch = problems.batch(16)
  trainer = problems.trainer(dropout=0.0, optimizer=optax.sgd(1.0))
  state = jax.jit(trainer.init)(0, types.Split(batch, None)).train
  counts = jnp.asarray(np.random.default_rng(0).uniform(0, 2, 16))

  def mean_loss(params):
    outputs, _ = trainer.network.apply(
      {"params": params}, batch, None, train=False
    )
    return jnp.mean(counts * trainer.task.loss(outputs[0], batch.target))

  step = jax.jit(
    jax.vmap(trainer.step, (None, 0, None, None, 0), axis_name=device_map.AXIS)
  )
  one = jax.tree.map(lambda x: x[None], batch)
  stepped, sums = step(state, one, None, 0, counts[None])
  for before, after, slope in problems.leaves(
    state.params, stepped.params, jax.jit(jax.grad(mean_loss))(state.params)
  ):
    np.testing.assert_allclose(before - after[0], slope, rtol=1e-4, atol=1e-6)
  # The log contains the loss without the factors.
  _, plain = step(state, one, None, 0, jnp.ones((1, 16)))
  np.testing.assert_array_equal(sums["loss"], plain["loss"])


@pytest.mark.slow
@pytest.mark.training
def test_examples_are_weighed_in_training_by_their_strength():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=RULE, optimizer=problems.SMOOTH)
  choices = [
    vectorized_runs.RunSpec(*choice, 1.0)
    for choice in (("uniform", 0.0), ("pid", 1.0), ("pid", 0.5), ("pid", 0.0))
  ]
  best, logs = problems.fit(trainer, choices, [0], train, valid, num_epochs=3)
  # The first epoch has no factors yet.
  losses = np.stack([log["train_loss"][:, 0, 0] for log in logs])
  np.testing.assert_allclose(losses[0], losses[0, 0], rtol=1e-6)
  # At strength 0 all factors are equal; modality weights are always uniform.
  uniform, full, half, none = losses[-1]
  np.testing.assert_allclose(none, uniform, rtol=1e-6)
  assert abs(full - uniform) > 1.2 * abs(half - uniform) > 1e-5
  np.testing.assert_allclose(logs[-1]["weights"], 1 / 3, rtol=1e-5)
  for leaf in jax.tree.leaves(best.params):
    np.testing.assert_allclose(leaf[3], leaf[0], rtol=1e-5, atol=1e-6)


@pytest.mark.training
def test_what_counts_is_averaged_as_weights_are():
  train, valid = problems.splits()
  trainer = problems.trainer(rule=RULE, dropout=0.0)
  choices = [
    vectorized_runs.RunSpec("uniform", 0.0, 1.0),
    vectorized_runs.RunSpec("pid", 1.0, 1.0),
  ]
  runner = loop.make_runner(trainer, choices, [0], train, valid)
  average, present = np.ones(len(train.batch.target)), train.batch.present
  multipliers = weighting.multipliers(weighting.uniform(present), present)
  apply = jax.jit(functools.partial(trainer.network.apply, train=False))
  # α is 0.5 first; it falls because the validation loss improved.
  for epoch, alpha in enumerate((0.5, 0.45)):
    runner.run_epoch(epoch)
    params = jax.tree.map(lambda x: x[1, 0], runner.run.train.params)
    outputs, _ = apply({"params": params}, train.batch, multipliers)
    factors = BY_INTERACTION(
      trainer.task.predict(train.unimodal[0]),
      trainer.task.predict(outputs[0]),
      present,
    )
    average = (1 - alpha) * average + alpha * np.asarray(factors)
    # The axes are: one device, both settings, one seed.
    uniform, counts = np.asarray(runner.run.weights.examples)[0, :, 0]
    np.testing.assert_array_equal(uniform, 1.0)
    # The factors are in the order of slots, so both sides are sorted.
    np.testing.assert_allclose(
      np.sort(counts, axis=None), np.sort(average), rtol=1e-3
    )
