import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import predictions
from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import permutation

KEY = jax.random.key(0)


def _dependent(seed, n=100):
  x, noise = np.random.default_rng(seed).normal(size=(2, n)).astype("f")
  return x, x + noise


def _total(x, y, where=True):
  """Returns a value that does not depend on how samples are paired."""
  return jnp.sum(jnp.where(where, x + y, 0))


def _product(x, y):
  return jnp.sum(x * y)


@pytest.mark.training
def test_the_value_is_the_estimate_and_the_null_is_without_dependence():
  x, y = _dependent(0, 400)

  def estimate(x, y):
    return correlation.gaussian_information(correlation.pearson(x, y))

  test = permutation.permutation_test(estimate, KEY, x, y, 50)
  np.testing.assert_allclose(test.value, estimate(x, y), atol=1e-6)
  # The null mean of 50 estimates is within four standard errors and bias.
  assert abs(test.null_mean) < 4 * test.null_std / np.sqrt(50) + 0.02
  assert 0 < test.null_std < 0.1
  np.testing.assert_allclose(test.p_value, 1 / 51, rtol=1e-6)


def test_the_null_is_that_of_shuffled_pairs():
  x, y = _dependent(1, 8)
  test = permutation.permutation_test(_product, KEY, x, y, 4000)
  # Σ x_i y_σ(i) has mean N x̄ȳ and variance Σ(x−x̄)² Σ(y−ȳ)² / (N−1).
  variance = np.var(x) * np.var(y) * 64 / 7
  error = np.sqrt(variance / 4000)
  assert abs(test.null_mean - 8 * x.mean() * y.mean()) < 4 * error
  np.testing.assert_allclose(test.null_std**2, variance, rtol=0.1)


@pytest.mark.parametrize("masked", [False, True])
def test_margins_are_kept(masked):
  x, y = np.round(100 * np.array(_dependent(2)))
  where = np.random.default_rng(0).random(100) < 0.6
  options = {"where": where} if masked else {}
  test = permutation.permutation_test(_total, KEY, x, y, 20, **options)
  np.testing.assert_array_equal(test.null_mean, test.value)
  assert test.null_std == 0
  assert test.p_value == 1


@pytest.mark.training
def test_masked_is_compacted_in_distribution():
  x, y = _dependent(3, 30)
  where = np.arange(30) % 3 > 0

  def product(x, y, where):
    return jnp.sum(jnp.where(where, x * y, 0.0))

  test = permutation.permutation_test(product, KEY, x, y, 4000, where=where)
  smaller = permutation.permutation_test(
    _product, KEY, x[where], y[where], 4000
  )
  np.testing.assert_allclose(test.value, smaller.value, rtol=1e-5)
  error = smaller.null_std * np.sqrt(2 / 4000)
  assert abs(test.null_mean - smaller.null_mean) < 4 * error
  np.testing.assert_allclose(test.null_std, smaller.null_std, rtol=0.1)


def test_p_values_of_nothing_are_uniform():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 400, 20)).astype("f")
  keys = jax.random.split(KEY, 400)
  test = jax.vmap(
    lambda key, x, y: permutation.permutation_test(_product, key, x, y, 19)
  )(keys, x, y)
  # Twenty equally likely values: 1/20 to 1.
  counts = np.bincount(np.rint(20 * test.p_value).astype(int), minlength=21)
  assert counts[0] == 0
  chi_square = np.sum((counts[1:] - 20) ** 2 / 20)
  # 19 degrees of freedom: mean 19, standard deviation √38.
  assert chi_square < 19 + 4 * np.sqrt(38)


@pytest.mark.training
def test_jit_keys_and_predictions():
  x, y = _dependent(4)
  test = jax.jit(permutation.permutation_test, static_argnums=(0, 4))
  p, q = (predictions.Bernoulli(v[:, None]) for v in (x, y))
  once = test(predictions.information, KEY, p, q, 10)
  plain = permutation.permutation_test(predictions.information, KEY, p, q, 10)
  np.testing.assert_allclose(once, plain, atol=1e-5)
  other = test(predictions.information, jax.random.key(1), p, q, 10)
  assert once.value == other.value
  assert once.null_mean != other.null_mean
  with pytest.raises(ValueError, match="num_permutations=0: give 1 or more"):
    permutation.permutation_test(_product, KEY, x, y, 0)


def test_several_estimates_share_the_permutations():
  x, y = _dependent(3, 30)

  def products(x, y):
    return jnp.stack([_product(x, y), _product(x**2, y)])

  both = permutation.permutation_test(products, KEY, x, y, 19)
  for place, columns in enumerate((x, x**2)):
    one = permutation.permutation_test(_product, KEY, columns, y, 19)
    for field, value in one._asdict().items():
      np.testing.assert_allclose(
        getattr(both, field)[place], value, rtol=1e-5, err_msg=field
      )


def test_the_number_at_once_changes_nothing():
  x, y = _dependent(4, 30)
  expected = permutation.permutation_test(_product, KEY, x, y, 19)
  for batch_size in (1, 4):
    test = permutation.permutation_test(
      _product, KEY, x, y, 19, batch_size=batch_size
    )
    np.testing.assert_allclose(test, expected, rtol=1e-5)
