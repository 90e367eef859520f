import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.training import crossfit


def _epochs(layout, losses, where, may_improve):
  """Runs `update` over epochs, on as many simulated devices as slots."""
  num_models = losses.shape[1]
  rows = layout.rows(np.arange(layout.num_slots))
  taken = np.maximum(rows, 0)
  state = crossfit.init(num_models, layout.num_examples, 1)
  # Outputs differ from losses, so that the two cannot be mixed up.
  mapped = jax.jit(
    jax.vmap(
      lambda state, losses, where, allowed: crossfit.update(
        state, -losses[..., None], losses, where, allowed, layout,
        device_map.AXIS,
      ),
      (None, 1, 1, None),
      axis_name=device_map.AXIS,
    )
  )  # fmt: skip
  for epoch, allowed in zip(losses, may_improve, strict=True):
    states = mapped(state, epoch[:, taken], where[:, taken], allowed)
    for leaf in jax.tree.leaves(states):
      np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[0], leaf.shape))
    state = jax.tree.map(lambda x: x[0], states)
  return state


def _expected(losses, where, may_improve):
  """Chooses the best epoch of each half by a loop over models and halves."""
  _, num_models, number = losses.shape
  outputs = np.full((num_models, number), np.nan, np.float32)
  for u in range(num_models):
    for h in (0, 1):
      chosen = where[u] & (np.arange(number) % 2 != h)
      if not chosen.any():
        chosen = where[u]
      allowed = np.flatnonzero(may_improve[:, u])
      means = [losses[e, u, chosen].mean() for e in allowed]
      best = allowed[int(np.argmin(means))]
      decided = np.arange(number) % 2 == h
      outputs[u, decided] = -losses[best, u, decided]
  return outputs


@pytest.mark.parametrize("num_slots", [1, 3])
def test_an_example_is_scored_at_the_best_epoch_of_the_other_half(num_slots):
  rng = np.random.default_rng(0)
  losses = rng.random((6, 2, 11)).astype("f")
  where = rng.random((2, 11)) < 0.8
  may_improve = np.ones((6, 2), bool)
  may_improve[3:, 1] = False
  # The epochs that do not count would be the best ones.
  losses[3:, 1] -= 1.0
  # The second order of examples is that of a split on disk.
  for order in (None, rng.permutation(11)):
    layout = plans.SlotLayout(11, num_slots, order)
    state = _epochs(layout, losses, where, may_improve)
    np.testing.assert_array_equal(
      state.outputs[..., 0], _expected(losses, where, may_improve)
    )


def test_a_half_without_examples_goes_by_all_of_them():
  losses = np.array([[[3.0, 9.0, 3.0]], [[1.0, 7.0, 1.0]], [[2.0, 5.0, 2.0]]])
  where = np.array([[True, False, True]])
  state = _epochs(
    plans.SlotLayout(3, 1), losses.astype("f"), where, np.ones((3, 1), bool)
  )
  np.testing.assert_array_equal(state.outputs[0, ::2, 0], [-1.0, -1.0])


def test_a_loss_that_is_never_finite_leaves_no_number():
  losses = np.full((2, 1, 4), np.nan, np.float32)
  state = _epochs(
    plans.SlotLayout(4, 1), losses, np.ones((1, 4), bool), np.ones((2, 1), bool)
  )
  assert np.all(np.isnan(state.outputs)) and np.all(jnp.isinf(state.loss))


def test_a_large_split_is_compared_by_a_part(monkeypatch):
  monkeypatch.setattr(crossfit, "_MAX_EXAMPLES", 4)
  rng = np.random.default_rng(0)
  losses, where = rng.random((5, 1, 10)).astype("f"), np.ones((1, 10), bool)
  may_improve = np.ones((5, 1), bool)
  rows = crossfit.rows(10)
  np.testing.assert_array_equal(rows, [0, 3, 6, 9])
  state = _epochs(plans.SlotLayout(10, 2), losses, where, may_improve)
  np.testing.assert_array_equal(
    state.outputs[..., 0],
    _expected(losses[..., rows], where[:, rows], may_improve),
  )
