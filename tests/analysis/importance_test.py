"""The factors of examples in the loss, by what decides them."""

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
  """Logits of a model that is nearly sure."""
  return confidence * jax.nn.one_hot(classes, 2)


BY_INTERACTION = jax.jit(importance.by_interaction, static_argnums=3)


@pytest.mark.training
def test_examples_that_lean_on_one_modality_count_more():
  """Half are decided by the first modality alone, half by both together."""
  rng = np.random.default_rng(0)
  first, second = rng.integers(0, 2, (2, 400))
  leans = np.arange(400) < 200
  # Where both are needed the first modality's model cannot tell.
  unsure = jnp.where(leans[:, None], _sure(first), 0.3 * _sure(first))
  unimodal = predictions.Categorical(jnp.stack([unsure, _sure(second)]))
  decided = np.where(leans, first, first ^ second)
  found = BY_INTERACTION(
    unimodal, predictions.Categorical(_sure(decided)), jnp.ones((400, 2), bool)
  )
  assert found[leans].mean() > 1.2 > 1 > found[~leans].mean()
  assert np.all((found > 0) & (found < 3))
  np.testing.assert_allclose(found.mean(), 1.0, rtol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize("kind", ["classes", "labels", "quantity"])
def test_shares_of_a_set_count_as_the_whole(kind):
  """Also where modalities are missing, of one example all."""
  rng = np.random.default_rng(0)
  outputs = jnp.asarray(rng.normal(size=(4, 40, 3)))
  present = jnp.asarray(rng.random((40, 3)) < 0.7).at[3].set(False)
  make = {
    "classes": predictions.Categorical,
    "labels": predictions.Bernoulli,
    "quantity": lambda x: predictions.Gaussian(x[..., 0], jnp.exp(x[..., 1])),
  }[kind]
  unimodal, multimodal = make(outputs[:3]), make(outputs[3])
  whole = BY_INTERACTION(unimodal, multimodal, present)

  def split(x, axis):
    shares = x.reshape(*x.shape[:axis], 4, 10, *x.shape[axis + 1 :])
    return jnp.moveaxis(shares, axis, 0)

  shares = jax.jit(
    jax.vmap(
      lambda p, q, there: importance.by_interaction(p, q, there, "devices"),
      axis_name="devices",
    )
  )(
    jax.tree.map(lambda x: split(x, 1), unimodal),
    jax.tree.map(lambda x: split(x, 0), multimodal),
    split(present, 0),
  )
  np.testing.assert_allclose(shares.reshape(-1), whole, rtol=1e-3)
  there = np.any(present, axis=1)
  np.testing.assert_allclose(whole[there].mean(), 1.0, rtol=1e-5)
  assert whole[there].std() > 0.1


@pytest.mark.training
def test_a_step_descends_the_loss_of_what_counts():
  batch = problems.batch(16)
  made = problems.trainer(dropout=0.0, optimizer=optax.sgd(1.0))
  state = jax.jit(made.init)(0, types.Split(batch, None)).train
  counts = jnp.asarray(np.random.default_rng(0).uniform(0, 2, 16))

  def whole(params):
    outputs, _ = made.network.apply(
      {"params": params}, batch, None, train=False
    )
    return jnp.mean(counts * made.task.loss(outputs[0], batch.target))

  step = jax.jit(
    jax.vmap(made.step, (None, 0, None, None, 0), axis_name=device_map.AXIS)
  )
  one = jax.tree.map(lambda x: x[None], batch)
  stepped, sums = step(state, one, None, 0, counts[None])
  for before, after, slope in problems.leaves(
    state.params, stepped.params, jax.jit(jax.grad(whole))(state.params)
  ):
    np.testing.assert_allclose(before - after[0], slope, rtol=1e-4, atol=1e-6)
  # What is logged is the loss itself.
  _, plain = step(state, one, None, 0, jnp.ones((1, 16)))
  np.testing.assert_array_equal(sums["loss"], plain["loss"])


@pytest.mark.training
def test_examples_are_weighed_in_training_by_their_strength():
  train, valid = problems.splits()
  made = problems.trainer(rule=RULE, optimizer=problems.SMOOTH)
  choices = [
    vectorized_runs.RunSpec(*choice, 1.0)
    for choice in (("uniform", 0.0), ("pid", 1.0), ("pid", 0.5), ("pid", 0.0))
  ]
  best, logs = problems.fit(made, choices, [0], train, valid, num_epochs=3)
  # The first epoch knows no weights.
  losses = np.stack([log["train_loss"][:, 0, 0] for log in logs])
  np.testing.assert_allclose(losses[0], losses[0, 0], rtol=1e-6)
  # Of no strength, all count the same; modalities always do.
  uniform, full, half, none = losses[-1]
  np.testing.assert_allclose(none, uniform, rtol=1e-6)
  assert abs(full - uniform) > 1.2 * abs(half - uniform) > 1e-5
  np.testing.assert_allclose(logs[-1]["weights"], 1 / 3, rtol=1e-5)
  for leaf in jax.tree.leaves(best.params):
    np.testing.assert_allclose(leaf[3], leaf[0], rtol=1e-5, atol=1e-6)


@pytest.mark.training
def test_what_counts_is_averaged_as_weights_are():
  train, valid = problems.splits()
  made = problems.trainer(rule=RULE, dropout=0.0)
  choices = [
    vectorized_runs.RunSpec("uniform", 0.0, 1.0),
    vectorized_runs.RunSpec("pid", 1.0, 1.0),
  ]
  runner = loop.make_runner(made, choices, [0], train, valid)
  average, present = np.ones(len(train.batch.target)), train.batch.present
  multipliers = weighting.multipliers(weighting.uniform(present), present)
  apply = jax.jit(functools.partial(made.network.apply, train=False))
  # α is 0.5, and then less, validation having improved.
  for epoch, alpha in enumerate((0.5, 0.45)):
    runner.run_epoch(epoch)
    params = jax.tree.map(lambda x: x[1, 0], runner.run.train.params)
    outputs, _ = apply({"params": params}, train.batch, multipliers)
    found = BY_INTERACTION(
      made.task.predict(train.unimodal[0]),
      made.task.predict(outputs[0]),
      present,
    )
    average = (1 - alpha) * average + alpha * np.asarray(found)
    # Of the one device, both cells, one seed.
    uniform, counts = np.asarray(runner.run.weights.examples)[0, :, 0]
    np.testing.assert_array_equal(uniform, 1.0)
    # Slots have examples of their own.
    np.testing.assert_allclose(
      np.sort(counts, axis=None), np.sort(average), rtol=1e-3
    )
