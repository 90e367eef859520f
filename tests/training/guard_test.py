"""The guard against gradients that are not finite, against optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax.training import guard

_PARAMS = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(4)}


@pytest.mark.parametrize(
  "optimizer",
  [optax.adamw(1e-2), optax.sgd(0.1, momentum=0.9), optax.adafactor(1e-2)],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -np.nan])
def test_updates_and_state_are_those_of_optax(optimizer, bad):
  ours = guard.skip_not_finite(optimizer)
  theirs = optax.apply_if_finite(optimizer, 1000)
  states = ours.init(_PARAMS), theirs.init(_PARAMS)
  for step in range(6):
    gradients = jax.tree.map(lambda x: jnp.cos(x + step), _PARAMS)
    if step in (2, 3, 5):
      gradients["a"] = gradients["a"].at[1, step % 3].set(bad)
    (mine, state), (expected, other) = (
      o.update(gradients, s, _PARAMS)
      for o, s in zip((ours, theirs), states, strict=True)
    )
    states = state, other
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mine, expected
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *states
    )
  assert int(states[0].notfinite_count) == 1
  assert int(states[0].total_notfinite) == 3


@pytest.mark.parametrize("value", [0.0, 3.4e38, -3.4e38, 1e-37])
def test_large_and_small_gradients_are_finite(value):
  optimizer = guard.skip_not_finite(optax.sgd(1.0))
  gradient = jnp.full(3, value)
  updates, state = optimizer.update(gradient, optimizer.init(gradient))
  np.testing.assert_array_equal(updates, -gradient)
  assert state.last_finite


@pytest.mark.parametrize("shape", [(0,), (2, 0), ()])
def test_leaves_without_entries_are_finite(shape):
  optimizer = guard.skip_not_finite(optax.sgd(1.0))
  params = {"a": jnp.zeros(shape), "b": jnp.ones(2, jnp.bfloat16)}
  _, state = optimizer.update(params, optimizer.init(params))
  assert state.last_finite
