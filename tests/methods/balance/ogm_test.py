import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import hooks
from btw_jax.methods.balance import ogm
from btw_jax.methods.balance import passes
from support import balances


def _factors(scores, known, alpha):
  """Computes the factors modality by modality, and the ratios ρ."""
  factors, ratios = [], []
  for m, score in enumerate(scores):
    others = [s for j, s in enumerate(scores) if known[j] and j != m]
    ratio = score / np.mean(others) if known[m] and others else 0.0
    ratios.append(ratio)
    factors.append(1 - np.tanh(alpha * ratio) if ratio > 1 else 1.0)
  return factors, ratios


def test_the_modality_that_is_ahead_learns_more_slowly():
  known = np.ones(3, bool)
  actual = ogm.factors(np.array([0.6, 0.3]), known[:2], 0.4)
  # ρ is .6 / .3 = 2 and .3 / .6 = .5.
  np.testing.assert_allclose(actual, [1 - np.tanh(0.8), 1.0], rtol=1e-6)
  actual = ogm.factors(np.array([0.8, 0.2, 0.6]), known, 0.5)
  # ρ is .8 / .4 = 2, .2 / .7 and .6 / .5 = 1.2.
  np.testing.assert_allclose(
    actual, [1 - np.tanh(1.0), 1.0, 1 - np.tanh(0.6)], rtol=1e-5
  )


@pytest.mark.parametrize(
  "known", [(True, False, False), (False, False, False), (True, True, False)]
)
def test_modalities_without_a_score_do_not_count(known):
  scores = np.array([0.6, 0.3, 0.0])
  actual = ogm.factors(scores, np.array(known), 0.4)
  ahead = sum(known) == 2
  expected = 1 - np.tanh(0.8) if ahead else 1.0
  np.testing.assert_allclose(actual, [expected, 1.0, 1.0], rtol=1e-6)


def test_a_single_modality_is_never_ahead():
  actual = ogm.factors(np.array([0.7]), np.array([True]), 0.4)
  np.testing.assert_array_equal(actual, [1.0])


@hypothesis.given(
  st.lists(
    st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=2, max_size=5
  ),
  st.floats(0.1, 0.8),
)
def test_factors_follow_the_rule(modalities, alpha):
  scores, known = map(np.array, zip(*modalities, strict=True))
  expected, ratios = _factors(scores, known, alpha)
  # The factor jumps at a ratio of 1.
  hypothesis.assume(np.all(np.abs(np.array(ratios) - 1) > 1e-4))
  actual = ogm.factors(scores.astype("f"), known, np.float32(alpha))
  # The difference of 1 and tanh cancels digits.
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.training
def test_modulation_ends_after_fifty_epochs():
  forward = balances.forward_of(3)
  embeddings = forward.encode(forward.batch)
  hook = ogm.Method(3)
  scores, known = passes.mean_confidence(forward, embeddings)
  expected, _ = _factors(scores, known, 0.7)
  assert min(expected) < 1
  for epochs, wanted in ((0, expected), (49, expected), (50, np.ones(3))):
    step = balances.step(balances.after_epochs(hook, epochs), 0.7)
    state = hook.observe(step, forward, embeddings)
    np.testing.assert_allclose(state["factors"], wanted, rtol=1e-5)
    assert state["epoch"] == epochs


@pytest.mark.parametrize("acts_on", ["updates", "gradients"])
def test_factors_multiply_what_they_are_told_to(acts_on):
  hook = ogm.Method(3, acts_on)
  tree = {"encoder": jnp.ones((3, 2)), "head": jnp.ones((3, 2))}
  ids = {"encoder": np.arange(3), "head": np.asarray(3)}
  owners = hooks.Owners(ids, 3)
  factors = jnp.array([0.5, 1.0, 0.25])
  step = balances.step({"factors": factors, "epoch": jnp.int32(0)})
  changed = {
    "gradients": hook.change_gradients(step, owners, tree, None),
    "updates": hook.change_updates(step, owners, tree),
  }
  scaled = changed.pop(acts_on)
  np.testing.assert_array_equal(
    scaled["encoder"], np.repeat(factors[:, None], 2, axis=1)
  )
  np.testing.assert_array_equal(scaled["head"], tree["head"])
  (unchanged,) = changed.values()
  jax.tree.map(np.testing.assert_array_equal, unchanged, tree)
