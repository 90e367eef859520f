import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats
from sklearn import feature_selection
from sklearn import metrics

from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import knn

KSG = jax.jit(knn.ksg, static_argnames="k")
SEEDS = st.integers(0, 2**32 - 1)


def _correlated(seed, n, rho=0.8):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=n)
  return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shape", [(120,), (120, 1), (120, 3)])
def test_ksg_matches_the_loop(k, shape):
  rng = np.random.default_rng(k)
  x = rng.normal(size=shape).astype("f")
  y = (x + rng.normal(size=shape)).astype("f")
  np.testing.assert_allclose(
    knn.ksg(x, y, k=k), oracles.ksg(x, y, k), atol=1e-5
  )


@pytest.mark.parametrize("n", [50, 700])
def test_ksg_matches_scikit_learn(n):
  x, y = _correlated(n, n)
  # scikit-learn divides by the standard deviation first.
  x, y = x / x.std(), y / y.std()
  expected = feature_selection.mutual_info_regression(
    x[:, None], y, n_neighbors=3, random_state=0
  )[0]
  np.testing.assert_allclose(knn.ksg(x, y), expected, atol=1e-3)


def test_ksg_finds_the_information_of_a_gaussian():
  truth = -0.5 * np.log(1 - 0.8**2)
  estimates = [KSG(*_correlated(seed, 1000)) for seed in range(8)]
  error = np.std(estimates) / np.sqrt(len(estimates))
  assert abs(np.mean(estimates) - truth) < 4 * error + 0.01


@hypothesis.settings(max_examples=20)
@hypothesis.given(SEEDS)
def test_ksg_ignores_order_and_swaps(seed):
  x, y = _correlated(seed, 40)
  order = np.random.default_rng(seed).permutation(40)
  estimate = KSG(x, y)
  np.testing.assert_allclose(KSG(x[order], y[order]), estimate, atol=1e-5)
  np.testing.assert_allclose(KSG(y, x), estimate, atol=1e-5)
  np.testing.assert_allclose(KSG(4 * x, 4 * y), estimate, atol=1e-5)


@hypothesis.settings(max_examples=20)
@hypothesis.given(SEEDS)
def test_ksg_masked_is_ksg_compacted(seed):
  x, y = _correlated(seed, 60)
  where = np.random.default_rng(seed).random(60) < 0.6
  # What does not count may be anything.
  noise = np.where(where, x, 1e6)
  compacted = oracles.ksg(x[where].astype("f"), y[where].astype("f"))
  np.testing.assert_allclose(KSG(noise, y, where=where), compacted, atol=1e-5)


def test_ksg_of_a_constant_is_zero():
  x, y = _correlated(0, 50)
  constant = np.full(50, 0.3)
  assert KSG(constant, y) == 0
  assert KSG(x, constant) == 0
  assert KSG(constant, constant) == 0


def test_ksg_is_not_clipped():
  estimates = [
    KSG(*np.random.default_rng(seed).normal(size=(2, 200)))
    for seed in range(10)
  ]
  assert min(estimates) < 0 < max(estimates)


def test_ksg_wants_enough_rows_and_as_many():
  with pytest.raises(ValueError, match="4 samples are too few for k = 3"):
    knn.ksg(np.zeros(4), np.zeros(4))
  with pytest.raises(ValueError, match="x has 9 rows and y 8"):
    knn.ksg(np.zeros(9), np.zeros(8))


def test_ksg_maps_and_compiles_once():
  traces = []

  def counted(x, y):
    traces.append(None)
    return knn.ksg(x, y)

  compiled = jax.jit(jax.vmap(counted))
  pairs = [np.stack(_correlated(seed, 64)) for seed in range(3)]
  x, y = np.swapaxes(pairs, 0, 1)
  together = compiled(x, y)
  compiled(x + 1, y)
  assert len(traces) == 1
  np.testing.assert_allclose(together, [knn.ksg(*p) for p in pairs], atol=1e-5)


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
