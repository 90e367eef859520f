import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import minmax
from btw_jax import weighting

LOW, HIGH = np.array([0.5, 0.0, 0.7]), np.array([2.5, 4.0, 0.7])


def test_instance_weights_by_hand():
  divergence = np.array([[1.0, 3.0, 0.7], [0.5, 4.0, 0.9], [9.0, 0.0, 0.1]])
  # The range of the third modality is a point; 9 is above that of the first.
  expected = np.array([[0.5 / 2, 3 / 4, 0], [0, 1, 0], [1, 0, 0]])
  weights = minmax.instance_weights(divergence, LOW, HIGH)
  np.testing.assert_allclose(weights, expected, atol=1e-5)
  compiled = jax.jit(minmax.instance_weights)(divergence, LOW, HIGH)
  np.testing.assert_allclose(compiled, weights, atol=1e-6)
  mapped = jax.vmap(minmax.instance_weights, (0, None, None))
  np.testing.assert_allclose(mapped(divergence, LOW, HIGH), weights, atol=1e-6)


def test_gradients_are_finite_where_nothing_varies():
  divergence = jnp.array([[0.5, 0.0, 0.7], [9.0, jnp.inf, 0.1]])
  for argument in (0, 1, 2):
    gradient = jax.grad(
      lambda *args: jnp.sum(minmax.instance_weights(*args)), argument
    )(divergence, jnp.array(LOW), jnp.array(HIGH))
    assert np.all(np.isfinite(gradient))


def test_rounding_below_the_floor_is_no_range():
  tiny = np.array([[1e-7], [0.5 * weighting.FLOOR]])
  weights = minmax.instance_weights(tiny, tiny.min(0), tiny.max(0))
  np.testing.assert_array_equal(weights, 0)


def test_the_range_is_that_of_examples_that_count():
  divergence = np.array(
    [[1.0, 5.0, 2.0], [3.0, np.nan, 2.0], [2.0, 4.0, 2.0], [9.0, np.inf, 2.0]]
  )
  where = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0]], bool)
  expected = [[1, 4, 0], [3, 5, 0]]
  np.testing.assert_array_equal(
    minmax.divergence_range(divergence, where), expected
  )
  sharded = jax.vmap(
    lambda *args: minmax.divergence_range(*args, axis_name="devices"),
    axis_name="devices",
  )(divergence.reshape(2, 2, 3), where.reshape(2, 2, 3))
  for device in range(2):
    np.testing.assert_array_equal([x[device] for x in sharded], expected)


def test_the_product_is_the_factor_of_the_embedding():
  rng = np.random.default_rng(0)
  instance, modality = rng.random((5, 3)), np.array([0.2, 0.5, 0.3])
  present = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
  present = present.astype(bool)
  instance[~present] = np.nan
  weights = minmax.combine(instance, modality, present)
  for strength, scale in ((1.0, 1.0), (0.3, 0.5)):
    factors = weighting.multipliers(
      weights, present, strength=strength, scale=scale
    )
    mixed = (1 - strength) + strength * instance * modality
    expected = np.where(present, scale * mixed, 0)
    np.testing.assert_allclose(factors, expected, rtol=1e-5)
