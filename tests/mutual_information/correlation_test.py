import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax.mutual_information import correlation
from support import samples

SEEDS = st.integers(0, 2**32 - 1)


@hypothesis.given(SEEDS, st.floats(-0.99, 0.99), st.floats(-1e4, 1e4))
def test_pearson_matches_scipy(seed, rho, shift):
  x, y = samples.correlated(seed, 50, rho)
  expected = stats.pearsonr(x, y).statistic
  actual = correlation.pearson(x + shift, 3 * y - shift)
  # Far from zero float32 keeps fewer digits of the spread.
  np.testing.assert_allclose(actual, expected, atol=1e-5 + 1e-7 * abs(shift))


def test_pearson_of_a_constant_is_zero_and_masks():
  x, y = samples.correlated(0, 40)
  assert correlation.pearson(np.ones(40), y) == 0
  where = np.arange(40) < 25
  np.testing.assert_allclose(
    correlation.pearson(np.where(where, x, np.nan), y, where=where),
    stats.pearsonr(x[:25], y[:25]).statistic,
    atol=1e-5,
  )
  gradient = jax.grad(lambda v: correlation.pearson(v, jnp.asarray(y)))
  assert np.all(np.isfinite(gradient(jnp.ones(40))))
  with pytest.raises(ValueError, match="two \\[N\\] arrays"):
    correlation.pearson(x, y[:-1])


RHOS = np.array([0.0, 1e-4, -0.5, 0.75, 0.999])


def test_gaussian_information_in_closed_form():
  expected = -0.5 * np.log1p(-(RHOS**2))
  np.testing.assert_allclose(
    correlation.gaussian_information(RHOS), expected, rtol=1e-5, atol=1e-9
  )
  # A correlation of ½ has the information ½ log(4/3).
  np.testing.assert_allclose(
    correlation.gaussian_information(0.5), 0.5 * np.log(4 / 3), rtol=1e-6
  )


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gaussian_information_of_a_copy_is_large_and_finite(sign):
  value, gradient = jax.value_and_grad(correlation.gaussian_information)(sign)
  resolution = np.finfo(np.float32).eps
  np.testing.assert_allclose(value, -0.5 * np.log(resolution), rtol=1e-6)
  assert gradient == 0
