import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import hooks
from btw_jax.methods.balance import modality_dropout
from support import balances


def _drop(rates, *, num_examples=3000, missing=0.3, multipliers=True):
  """Drops modalities of many examples; returns what is shown before, after."""
  forward = balances.forward_of(
    len(rates), num_examples=num_examples, missing=missing
  )
  shown = hooks.Shown(
    jnp.zeros((num_examples, len(rates), 2)),
    forward.batch,
    forward.multipliers if multipliers else None,
  )
  rates = jnp.asarray(rates, jnp.float32)
  return shown, modality_dropout.drop(balances.KEY, rates, forward, shown)


@hypothesis.given(
  st.lists(st.floats(0.0, 1.0), min_size=2, max_size=4), st.booleans()
)
@hypothesis.settings(max_examples=25)
def test_no_example_loses_everything_and_the_rest_makes_up(rates, weighted):
  before, after = _drop(rates, num_examples=40, multipliers=weighted)
  old, new = (np.asarray(x.batch.present) for x in (before, after))
  assert np.all(new <= old)
  np.testing.assert_array_equal(new.any(axis=1), old.any(axis=1))
  weights = old.astype("f") if not weighted else np.asarray(before.multipliers)
  for i in range(len(old)):
    expected = np.zeros(len(rates))
    if old[i].any():
      share_dropped = np.sum(old[i] & ~new[i]) / np.sum(old[i])
      expected[new[i]] = weights[i, new[i]] / (1 - share_dropped)
    np.testing.assert_allclose(after.multipliers[i], expected, rtol=1e-6)
  np.testing.assert_array_equal(before.embeddings, after.embeddings)


def test_each_modality_has_its_own_rate():
  before, after = _drop([0.1, 0.5, 0.0], missing=0.0)
  old, new = (np.asarray(x.batch.present)[:-1] for x in (before, after))
  assert old.all()
  # The third one is never dropped, so no example keeps one for its sake.
  np.testing.assert_allclose((~new).mean(axis=0), [0.1, 0.5, 0.0], atol=0.03)


def test_at_a_rate_of_0_nothing_is_dropped_and_at_1_all_but_one():
  before, after = _drop([0.0, 0.0])
  jax.tree.map(np.testing.assert_array_equal, before, after)
  before, after = _drop([1.0, 1.0, 1.0])
  kept = np.asarray(after.batch.present).sum(axis=1)
  np.testing.assert_array_equal(kept, before.batch.present.any(axis=1))
  # The one that is kept is drawn evenly from complete examples.
  _, after = _drop([1.0, 1.0, 1.0], missing=0.0)
  np.testing.assert_allclose(
    np.asarray(after.batch.present)[:-1].mean(axis=0), 1 / 3, atol=0.03
  )


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_the_method_drops_at_its_rate(rate):
  forward = balances.forward_of(3, num_examples=6000, missing=0.0)
  shown = hooks.Shown(jnp.zeros((6000, 3, 2)), forward.batch, None)
  hook = modality_dropout.Method(3)
  step = balances.step(hook.init(0), rate)
  after = hook.show(step, forward, shown)
  dropped = 1 - np.asarray(after.batch.present)[:-1].mean(axis=0)
  # If all three were dropped, one of them stays: r − r³ / 3 are dropped.
  np.testing.assert_allclose(dropped, rate - rate**3 / 3, atol=0.02)
