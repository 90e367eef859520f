import jax
import numpy as np
import pytest
from scipy import stats

from btw_jax.mutual_information import copula
from support import samples

# Compiling is faster than one operation after the other.
COPULA = jax.jit(copula.gaussian_copula)


def test_copula_matches_the_definition():
  x, y = samples.correlated(0, 200)
  scores = stats.norm.ppf((stats.rankdata([x, y], axis=1) - 0.5) / 200)
  rho = np.corrcoef(scores)[0, 1]
  np.testing.assert_allclose(COPULA(x, y), -0.5 * np.log(1 - rho**2), rtol=1e-5)


@pytest.mark.training
def test_copula_finds_the_information_of_gaussian_vectors():
  rng = np.random.default_rng(0)
  mixing = rng.normal(size=(5, 5)) + 2 * np.eye(5)
  covariance = mixing @ mixing.T
  samples = rng.normal(size=(20_000, 5)) @ mixing.T
  truth = 0.5 * (
    np.linalg.slogdet(covariance[:2, :2])[1]
    + np.linalg.slogdet(covariance[2:, 2:])[1]
    - np.linalg.slogdet(covariance)[1]
  )
  estimate = COPULA(samples[:, :2], samples[:, 2:])
  # Ranks undo transforms of the margins.
  warped = COPULA(np.exp(samples[:, :2]), samples[:, 2:] ** 3)
  np.testing.assert_allclose(estimate, truth, atol=0.02)
  np.testing.assert_allclose(warped, estimate, rtol=1e-4)


def test_copula_counts_only_what_counts():
  x, y = samples.correlated(1, 80)
  where = np.random.default_rng(1).random(80) < 0.6
  np.testing.assert_allclose(
    COPULA(np.where(where, x, np.nan), y, where=where),
    COPULA(x[where], y[where]),
    rtol=1e-4,
  )


@pytest.mark.training
def test_copula_of_constants_and_copies():
  x, y = samples.correlated(0, 100)
  np.testing.assert_allclose(COPULA(np.ones(100), y), 0.0, atol=1e-6)
  copied = COPULA(x, x)
  assert 5 < copied < 10
  # A redundant column adds no information.
  np.testing.assert_allclose(
    COPULA(np.stack([x, np.ones(100)], 1), y),
    COPULA(x, y),
    atol=1e-5,
  )
  with pytest.raises(ValueError, match="x has 100 rows and y 99"):
    COPULA(x, y[:-1])
