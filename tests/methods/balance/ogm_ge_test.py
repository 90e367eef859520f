import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import hooks
from btw_jax.methods.balance import ogm_ge
from support import balances

# Deviations of the encoders' updates.
STDS = np.array([0.1, 1.0, 10.0])


def _modulated(epochs, factors=(0.5, 1.0, 0.25)):
  """Returns updates before and after, of three encoders and of the head."""
  hook = ogm_ge.Method(3)
  drawn = np.random.default_rng(0).normal(size=(3, 100, 80))
  updates = {
    "encoder": jnp.asarray(STDS[:, None, None] * drawn + 5.0, jnp.float32),
    "head": jnp.asarray(drawn[0], jnp.float32),
  }
  owners = hooks.Owners({"encoder": np.arange(3), "head": np.asarray(3)}, 3)
  state = balances.after_epochs(hook, epochs) | {
    "factors": jnp.asarray(factors)
  }
  step = balances.step(state)
  return updates, hook.change_updates(step, owners, updates), hook, step


def test_noise_is_as_large_as_what_the_encoder_learns():
  updates, changed, _, _ = _modulated(epochs=49)
  scaled = np.array([0.5, 1.0, 0.25])[:, None, None] * updates["encoder"]
  noise = np.asarray(changed["encoder"] - scaled)
  # 8,000 draws: the standard error of a deviation is 1/126 of it.
  np.testing.assert_allclose(noise.std(axis=(1, 2)), STDS, rtol=0.04)
  assert np.all(np.abs(noise.mean(axis=(1, 2))) < 0.04 * STDS)
  # Encoders draw their own noise.
  between = np.corrcoef(noise.reshape(3, -1))
  assert np.all(np.abs(between - np.eye(3)) < 0.04)


def test_noise_leaves_other_parameters_and_later_epochs_alone():
  updates, changed, _, _ = _modulated(epochs=49)
  np.testing.assert_array_equal(changed["head"], updates["head"])
  updates, changed, _, _ = _modulated(epochs=50, factors=(1.0, 1.0, 1.0))
  jax.tree.map(np.testing.assert_array_equal, changed, updates)


def test_every_step_draws_its_own_noise():
  updates, changed, hook, step = _modulated(epochs=0)
  owners = hooks.Owners({"encoder": np.arange(3), "head": np.asarray(3)}, 3)
  other = balances.step(step.state, key=jax.random.key(8))
  moved = hook.change_updates(other, owners, updates)
  assert np.all(moved["encoder"] != changed["encoder"])
