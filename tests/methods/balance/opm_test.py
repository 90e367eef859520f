import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from btw_jax import hooks
from btw_jax.methods.balance import opm
from btw_jax.methods.balance import passes
from support import balances


def _rates(scores, known, base_rate):
  """Computes the rates modality by modality, and the ratios ρ."""
  rates, ratios = [], []
  for m, score in enumerate(scores):
    others = sum(s for j, s in enumerate(scores) if known[j] and j != m)
    ratio = score / others if known[m] and others > 0 else 0.0
    ratios.append(ratio)
    rate = base_rate * (1 + 0.5 * np.tanh(ratio - 1))
    rates.append(rate if ratio > 1 else 0.0)
  return rates, ratios


def test_only_a_modality_above_the_sum_of_the_others_is_dropped():
  scores, known = np.array([0.8, 0.2, 0.2]), np.ones(3, bool)
  # ρ is .8 / .4 = 2: the rate is .4 (1 + .5 tanh 1).
  np.testing.assert_allclose(
    opm.rates(scores, known, 0.4), [0.4 + 0.2 * np.tanh(1), 0, 0], rtol=1e-6
  )
  # ρ is .8 / 1 at most.
  scores = np.array([0.8, 0.5, 0.5])
  np.testing.assert_array_equal(opm.rates(scores, known, 0.4), np.zeros(3))
  alone = np.array([True, False, False])
  np.testing.assert_array_equal(opm.rates(scores, alone, 0.4), np.zeros(3))


@hypothesis.given(
  st.lists(
    st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=2, max_size=4
  ),
  st.floats(0.1, 0.6),
)
def test_rates_follow_the_rule(modalities, base_rate):
  scores, known = map(np.array, zip(*modalities, strict=True))
  expected, ratios = _rates(scores, known, base_rate)
  hypothesis.assume(np.all(np.abs(np.array(ratios) - 1) > 1e-4))
  actual = opm.rates(scores.astype("f"), known, np.float32(base_rate))
  np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_a_rate_is_at_most_1():
  scores, known = np.array([1.0, 0.01]), np.ones(2, bool)
  np.testing.assert_array_equal(opm.rates(scores, known, 0.9), [1.0, 0.0])


@pytest.mark.training
def test_nothing_is_dropped_in_the_first_five_epochs():
  forward = balances.forward_of(2, num_examples=200)
  embeddings = forward.encode(forward.batch)
  hook = opm.Method(2)
  scores, known = passes.mean_confidence(forward, embeddings)
  expected, ratios = _rates(scores, known, 0.6)
  ahead = int(np.argmax(ratios))
  assert ratios[ahead] > 1
  shown = hooks.Shown(embeddings, forward.batch, forward.multipliers)
  for epochs in (0, 4, 5):
    step = balances.step(balances.after_epochs(hook, epochs), 0.6)
    step = step.with_state(hook.observe(step, forward, embeddings))
    changed = hook.show(step, forward, shown)
    if epochs < 5:
      jax.tree.map(np.testing.assert_array_equal, changed, shown)
      continue
    np.testing.assert_allclose(step.state["rates"], expected, rtol=1e-5)
    before = np.asarray(forward.batch.present)
    both = before.all(axis=1)
    dropped = np.mean(~np.asarray(changed.batch.present)[both, ahead])
    # The standard error over about 100 examples is .05.
    assert abs(dropped - expected[ahead]) < 0.15
    # What is not ahead is never dropped.
    kept = np.asarray(changed.batch.present)[:, 1 - ahead]
    np.testing.assert_array_equal(kept, before[:, 1 - ahead])
