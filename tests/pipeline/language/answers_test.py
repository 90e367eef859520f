import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.pipeline.language import answers


def test_options_share_their_probability():
  logits = jnp.log(jnp.array([0.05, 0.1, 0.4, 0.2, 0.25]))
  options = jnp.array([2, 3, 0])
  log_probs = answers.option_log_probs(logits, options)
  np.testing.assert_allclose(np.exp(log_probs), [2 / 3, 1 / 3, 0], rtol=1e-5)


def test_options_that_the_model_does_not_mean_are_equally_likely():
  logits = jnp.log(jnp.array([0.01, 0.1, 0.05, 0.8]))
  options = jnp.array([1, 2, 0])
  probs = np.exp(answers.option_log_probs(logits, options))
  np.testing.assert_allclose(probs, [0.5, 0.5, 0], rtol=1e-5)
  # They hold .15 of the probability.
  probs = np.exp(answers.option_log_probs(logits, options, least_mass=0.14))
  np.testing.assert_allclose(probs, [2 / 3, 1 / 3, 0], rtol=1e-5)


def test_examples_are_answered_one_by_one():
  logits = jax.random.normal(jax.random.key(0), (4, 7, 9))
  options = jax.random.randint(jax.random.key(1), (4, 7, 3), 1, 9)
  whole = answers.option_log_probs(logits, options)
  mapped = jax.vmap(jax.vmap(answers.option_log_probs))(logits, options)
  np.testing.assert_allclose(whole, mapped, rtol=1e-6)
  np.testing.assert_allclose(np.exp(whole).sum(-1), 1, rtol=1e-5)
