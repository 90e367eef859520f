import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats
from sklearn import metrics

from btw_jax.mutual_information import binned
from btw_jax.mutual_information import copula
from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import transforms

# Compiled: one operation after the other takes as long as many compilations.
BINNED = jax.jit(binned.binned, static_argnames="num_bins")
COPULA = jax.jit(copula.gaussian_copula)
RANK = jax.jit(transforms.rank)
SEEDS = st.integers(0, 2**32 - 1)


def _correlated(seed, n, rho=0.8):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=n)
  return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


@hypothesis.given(SEEDS, st.sampled_from([(2, 2), (3, 5)]))
def test_soft_information_matches_the_loop(seed, shape):
  c, k = shape
  rng = np.random.default_rng(seed)
  p = rng.dirichlet(np.ones(c), 30)
  q = rng.dirichlet(np.ones(k), 30)
  joint = discrete.soft_contingency(p, q)
  np.testing.assert_allclose(jnp.sum(joint), 1.0, rtol=1e-5)
  np.testing.assert_allclose(
    discrete.from_joint(joint), oracles.soft_information(p, q), atol=1e-6
  )


def test_hard_decisions_give_scikit_learns_information():
  rng = np.random.default_rng(0)
  a = rng.integers(0, 4, 300)
  b = np.where(rng.random(300) < 0.7, a, rng.integers(0, 4, 300))
  joint = discrete.soft_contingency(np.eye(4)[a], np.eye(4)[b])
  np.testing.assert_allclose(
    discrete.from_joint(joint), metrics.mutual_info_score(a, b), rtol=1e-5
  )


def test_information_of_a_table_in_closed_form():
  # A coin seen twice tells log 2; two coins tell nothing.
  np.testing.assert_allclose(discrete.from_joint(np.eye(2) / 2), np.log(2.0))
  assert abs(discrete.from_joint(np.outer([0.3, 0.7], [0.2, 0.8]))) < 1e-7
  table = jnp.asarray(np.eye(3) / 3)
  assert np.all(np.isfinite(jax.grad(discrete.from_joint)(table)))


@pytest.mark.parametrize("least", [1e-36, 1e-37, 2e-38])
def test_the_least_that_a_float_holds_is_as_good_as_none(least):
  table = jnp.asarray([[0.5, 0.2], [least, 0.3]], jnp.float32)
  np.testing.assert_allclose(
    discrete.from_joint(table), discrete.from_joint(table.at[1, 0].set(0.0)),
    rtol=1e-5,
  )  # fmt: skip
  assert np.all(np.isfinite(jax.grad(discrete.from_joint)(table)))


def test_contingency_counts_only_what_counts():
  rng = np.random.default_rng(1)
  p, q = rng.dirichlet(np.ones(3), (2, 20))
  where = rng.random(20) < 0.5
  np.testing.assert_allclose(
    discrete.soft_contingency(
      *(np.where(where[:, None], v, np.nan) for v in (p, q)), where=where
    ),
    discrete.soft_contingency(p[where], q[where]),
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match="same N"):
    discrete.soft_contingency(p, q[:3])


@hypothesis.given(SEEDS, st.floats(-0.99, 0.99), st.floats(-1e4, 1e4))
def test_pearson_matches_scipy(seed, rho, shift):
  x, y = _correlated(seed, 50, rho)
  expected = stats.pearsonr(x, y).statistic
  actual = correlation.pearson(x + shift, 3 * y - shift)
  # Far from zero float32 keeps fewer digits of the spread.
  np.testing.assert_allclose(actual, expected, atol=1e-5 + 1e-7 * abs(shift))


def test_pearson_of_a_constant_is_zero_and_masks():
  x, y = _correlated(0, 40)
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


def test_a_nearly_independent_table_keeps_its_digits():
  table = np.outer([0.3, 0.7], [0.2, 0.8])
  table = table + 1e-4 * np.array([[1, -1], [-1, 1]])
  exact = oracles.table_information(table)
  assert 1e-8 < exact < 1e-6
  found = discrete.from_joint(jnp.asarray(table, jnp.float32))
  np.testing.assert_allclose(found, exact, rtol=5e-3)


RHOS = np.array([0.0, 1e-4, -0.5, 0.75, 0.999])


def test_gaussian_information_in_closed_form():
  expected = -0.5 * np.log1p(-(RHOS**2))
  np.testing.assert_allclose(
    correlation.gaussian_information(RHOS), expected, rtol=1e-5, atol=1e-9
  )
  # ρ = ½ tells ½ log(4/3).
  np.testing.assert_allclose(
    correlation.gaussian_information(0.5), 0.5 * np.log(4 / 3), rtol=1e-6
  )


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gaussian_information_of_a_copy_is_large_and_finite(sign):
  value, gradient = jax.value_and_grad(correlation.gaussian_information)(sign)
  resolution = np.finfo(np.float32).eps
  np.testing.assert_allclose(value, -0.5 * np.log(resolution), rtol=1e-6)
  assert gradient == 0


def test_copula_matches_the_definition():
  x, y = _correlated(0, 200)
  scores = stats.norm.ppf((stats.rankdata([x, y], axis=1) - 0.5) / 200)
  rho = np.corrcoef(scores)[0, 1]
  np.testing.assert_allclose(COPULA(x, y), -0.5 * np.log(1 - rho**2), rtol=1e-5)


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
  found = COPULA(samples[:, :2], samples[:, 2:])
  # Ranks undo what is done to the margins.
  warped = COPULA(np.exp(samples[:, :2]), samples[:, 2:] ** 3)
  np.testing.assert_allclose(found, truth, atol=0.02)
  np.testing.assert_allclose(warped, found, rtol=1e-4)


def test_copula_counts_only_what_counts():
  x, y = _correlated(1, 80)
  where = np.random.default_rng(1).random(80) < 0.6
  np.testing.assert_allclose(
    COPULA(np.where(where, x, np.nan), y, where=where),
    COPULA(x[where], y[where]),
    rtol=1e-4,
  )


def test_copula_of_constants_and_copies():
  x, y = _correlated(0, 100)
  np.testing.assert_allclose(COPULA(np.ones(100), y), 0.0, atol=1e-6)
  copied = COPULA(x, x)
  assert 5 < copied < 10
  # A column that says nothing new adds nothing.
  np.testing.assert_allclose(
    COPULA(np.stack([x, np.ones(100)], 1), y),
    COPULA(x, y),
    atol=1e-5,
  )
  with pytest.raises(ValueError, match="x has 100 rows and y 99"):
    COPULA(x, y[:-1])


@pytest.mark.parametrize("num_bins", [2, 7, 30])
def test_binned_matches_a_histogram(num_bins):
  x, y = _correlated(num_bins, 400)
  counts, _, _ = np.histogram2d(x, y, bins=num_bins)
  expected = metrics.mutual_info_score(None, None, contingency=counts)
  np.testing.assert_allclose(
    BINNED(x, y, num_bins=num_bins), expected, rtol=1e-4
  )


def test_binned_ranks_are_bins_of_equal_count():
  x, y = _correlated(3, 400)
  cells = [np.argsort(np.argsort(v)) * 8 // 400 for v in (x, y)]
  np.testing.assert_allclose(
    BINNED(*(transforms.uniform_scores(v) for v in (x, y)), num_bins=8),
    metrics.mutual_info_score(*cells),
    rtol=1e-5,
  )


def test_binned_masks_constants_and_errors():
  x, y = _correlated(1, 80)
  where = np.random.default_rng(1).random(80) < 0.6
  np.testing.assert_allclose(
    BINNED(np.where(where, x, 1e6), y, num_bins=5, where=where),
    BINNED(x[where], y[where], num_bins=5),
    rtol=1e-5,
  )
  assert abs(BINNED(np.full(80, 0.3), y, num_bins=5)) < 1e-6
  np.testing.assert_allclose(
    BINNED(np.arange(80), np.arange(80), num_bins=5),
    np.log(5),
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match="num_bins=1 tells nothing"):
    BINNED(x, y, num_bins=1)
  with pytest.raises(ValueError, match="two \\[N\\] arrays"):
    BINNED(x, y[:-1], num_bins=3)


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_standardise_matches_numpy(shape):
  x = np.random.default_rng(0).normal(5.0, 1e-3, shape)
  expected = (x - x.mean(0)) / x.std(0)
  # Of numbers near 5, float32 keeps steps of 5e-7, 5e-4 of their spread.
  np.testing.assert_allclose(transforms.standardise(x), expected, atol=2e-3)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_standardise_neither_under_nor_overflows(size):
  x = np.random.default_rng(0).normal(size=40).astype("f")
  np.testing.assert_allclose(
    transforms.standardise(x * np.float32(size)),
    (x - x.mean()) / x.std(),
    rtol=1e-4,
    atol=1e-5,
  )


def test_rank_matches_scipy_with_ties():
  x = np.random.default_rng(0).integers(0, 12, (40, 2)).astype("f")
  expected = (stats.rankdata(x, axis=0) - 0.5) / 40
  np.testing.assert_allclose(transforms.uniform_scores(x), expected, rtol=1e-6)
  np.testing.assert_allclose(
    RANK(x), stats.norm.ppf(expected), rtol=1e-4, atol=1e-6
  )


@hypothesis.given(SEEDS)
def test_rank_undoes_increasing_maps(seed):
  x = np.random.default_rng(seed).normal(size=60).astype("f")
  np.testing.assert_array_equal(RANK(x), RANK(np.exp(2 * x) + 3))


@pytest.mark.parametrize("name", ["standardise", "rank"])
def test_transforms_count_only_what_counts(name):
  transform = jax.jit(transforms.TRANSFORMS[name])
  x = np.random.default_rng(0).normal(size=(50, 2)).astype("f")
  where = np.random.default_rng(1).random(50) < 0.5
  masked = transform(np.where(where[:, None], x, np.nan), where=where)
  np.testing.assert_allclose(
    masked[where], transform(x[where]), rtol=1e-4, atol=1e-6
  )
  assert len(np.unique(masked[~where])) == 1
  constant = transform(np.full(50, 0.1))
  assert len(np.unique(constant)) == 1


def test_jitter_is_small_seeded_and_centred():
  x = np.random.default_rng(0).integers(0, 5, 2000) + 1000.0
  key = jax.random.key(0)
  once, again = (transforms.jitter(key, x) for _ in range(2))
  other = transforms.jitter(jax.random.key(1), x)
  np.testing.assert_array_equal(once, again)
  assert np.any(once != other)
  moved = np.asarray(once) - (x - x.mean())
  assert 0 < np.max(np.abs(moved)) < 1.1 * transforms.JITTER * x.std()
  assert len(np.unique(once)) > 1500
  np.testing.assert_array_equal(transforms.jitter(key, np.ones(9)), 0.0)
