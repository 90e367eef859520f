import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax.data import plans
from btw_jax.methods.balance import gblend
from btw_jax.training import sampling
from support import balances
from support import problems


def test_weights_are_gain_over_squared_overfitting():
  before = np.array([[1.0, 2.0, 3.0], [1.1, 2.2, 3.3]])
  now = np.array([[0.5, 1.0, 2.0], [0.9, 2.0, 3.4]])
  # G = .2, .2, −.1; the gaps grow from .1, .2, .3 to .4, 1, 1.4.
  ratios = np.array([0.2 / 0.3**2, 0.2 / 0.8**2, 0.1 / 1.1**2])
  actual = gblend.weights(before, now, np.ones(3, bool))
  np.testing.assert_allclose(actual, ratios / ratios.sum(), rtol=1e-4)
  known = np.array([True, False, True])
  ratios[1] = 0
  actual = gblend.weights(before, now, known)
  np.testing.assert_allclose(actual, ratios / ratios.sum(), rtol=1e-4)


def test_overfitting_has_a_floor_and_no_gain_weighs_all_the_same():
  before = np.array([[1.0, 1.0], [1.0, 1.0]])
  now = np.array([[0.5, 0.5], [0.5, 0.502]])
  # O = 0 and .002, of which .001 is the least; G = .5 and .498.
  ratios = np.array([0.5 / 0.001**2, 0.498 / 0.002**2])
  actual = gblend.weights(before, now, np.ones(2, bool))
  np.testing.assert_allclose(actual, ratios / ratios.sum(), rtol=2e-3)
  for known in ([True, True], [False, False]):
    actual = gblend.weights(before, before, np.array(known))
    np.testing.assert_allclose(actual, [0.5, 0.5])


def test_weights_change_after_every_super_epoch():
  """The losses of each epoch are given, as sums over examples."""
  hook = gblend.Method(2)
  state = hook.init(0)
  rng = np.random.default_rng(0)
  losses = np.cumsum(-rng.uniform(0.1, 0.3, (8, 2, 3)), axis=0) + 10
  counts = rng.integers(1, 9, (2, 3)).astype("f")
  np.testing.assert_allclose(state["weights"], 1 / 3)
  # Of super-epochs of 3 epochs, the first starts with the first epoch's losses.
  starts, ends = {3: 0, 6: 2}, {3: 2, 6: 5}
  expected = np.full(3, 1 / 3)
  for epoch in range(1, 9):
    sums = jnp.asarray(losses[epoch - 1] * counts, jnp.float32)
    state = hook.end_epoch(
      state
      | {"sums": sums, "counts": jnp.asarray(counts), "length": jnp.float32(3)}
    )
    if epoch in starts:
      expected = gblend.weights(
        losses[starts[epoch]], losses[ends[epoch]], np.ones(3, bool)
      )
    np.testing.assert_allclose(state["weights"], expected, rtol=2e-2)
    np.testing.assert_array_equal(state["sums"], 0)
    np.testing.assert_array_equal(state["counts"], 0)
    assert state["epoch"] == epoch
  assert np.ptp(expected) > 0.05


def _state(weights):
  state = gblend.Method(3).init(0)
  return state | {"weights": jnp.asarray(weights, jnp.float32)}


@pytest.mark.training
def test_losses_are_weighed_and_every_fifth_example_is_left_out():
  forward = balances.forward_of(3, task="regression")
  embeddings = forward.encode(forward.batch)
  weights = [0.4, 0.3, 0.2, 0.1]
  losses = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (1, 12)))
  actual = gblend.Method(3).minimise(
    balances.step(_state(weights)), forward, embeddings, None, losses
  )
  expected = 0.4 * np.asarray(losses[0])
  for m, subset in enumerate(np.eye(3, dtype=bool)):
    outputs, has = balances.fuse_only(forward, embeddings, subset)
    alone = forward.task.loss(outputs, forward.batch.target)
    expected += weights[m + 1] * np.where(has, alone, 0)
  # Four fifths of the examples carry the mean of all.
  expected *= 5 / 4
  expected[[4, 9]] = 0
  np.testing.assert_allclose(actual[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.training
def test_losses_of_both_kinds_of_examples_add_up_over_steps():
  forward = balances.forward_of(3)
  embeddings = forward.encode(forward.batch)
  state = gblend.Method(3).init(0)
  for value in (4.0, 5.0):
    state = gblend.Method(3).observe(
      balances.step(state, value), forward, embeddings
    )
  held = np.isin(np.arange(12), [4, 9])
  for number, subset in enumerate(([1] * 3, *np.eye(3, dtype=bool))):
    outputs, has = balances.fuse_only(forward, embeddings, subset)
    losses = np.asarray(forward.task.loss(outputs, forward.batch.target))
    for row, where in enumerate((has & ~held, has & held)):
      np.testing.assert_allclose(
        state["sums"][row, number], 2 * losses[where].sum(), rtol=1e-4
      )
      assert state["counts"][row, number] == 2 * where.sum()
  assert state["length"] == 5


@pytest.mark.training
def test_held_out_examples_change_no_parameter():
  trainer = balances.trainer("gblend", optimizer=optax.sgd(1.0))
  batch = problems.batch(16, missing=0.2)
  held = np.arange(16) % 5 == 4
  moved = batch._replace(
    features=jnp.where(held[:, None, None], 9.0, batch.features)
  )
  first, second = (
    balances.step_on(trainer, part)[1] for part in (batch, moved)
  )
  for a, b in problems.leaves(first.params, second.params):
    np.testing.assert_allclose(a, b, atol=1e-6)
  sums = [np.asarray(s.hook_state["sums"][0]) for s in (first, second)]
  np.testing.assert_allclose(sums[0][0], sums[1][0], rtol=1e-5)
  assert np.all(sums[0][1] != sums[1][1])


def test_held_out_examples_are_the_same_in_every_epoch():
  """Slots own their examples; of 12 slots, numbers 4 and 9 hold out."""
  layout, slots = plans.SlotLayout(53, 12), np.arange(12)
  rows, seen = layout.rows(slots), {True: set(), False: set()}
  for epoch in range(6):
    order = np.asarray(sampling.epoch_order(3, epoch, slots, layout))
    for places in order:
      for slot, place in zip(slots, places, strict=True):
        seen[slot in (4, 9)].add(int(rows[slot, place]))
  assert seen[True] == {n for n in range(53) if n % 12 in (4, 9)}
  assert not seen[True] & seen[False]


def test_a_batch_needs_a_slot_for_held_out_examples():
  assert gblend.Method.check(None, 5) is None
  assert gblend.Method.check(None, 4) == "needs --batch_size of at least 5"
