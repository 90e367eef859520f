import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import feature_selection

from btw_jax.mutual_information import knn
from btw_jax.mutual_information import transforms
from support import oracles

KSG = jax.jit(knn.ksg, static_argnames="k")
MIXED = jax.jit(knn.mixed, static_argnames=("num_classes", "k"))
_TRAINING = functools.partial(pytest.param, marks=pytest.mark.training)
# Shapes are few: every new one compiles for seconds.
SEEDS = st.integers(0, 2**32 - 1)


def _correlated(seed, n, rho=0.8):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=n)
  y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
  return x.astype("f"), y.astype("f")


def _classes(seed, n, num_classes=4):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, num_classes, n)
  return (0.7 * labels + rng.normal(size=n)).astype("f"), labels


def _hard(name, n=1300):
  """Returns samples that a sorted search may get wrong."""
  rng = np.random.default_rng(0)
  x, y = _correlated(0, n)
  if name == "heavy tails":
    return (v / np.abs(rng.normal(size=n)) ** 2 for v in (x, y))
  if name == "ring with its centre":
    angle = rng.uniform(0, 2 * np.pi, n)
    angle = np.stack([np.cos(angle), np.sin(angle)])
    return angle * (np.arange(n) % 100 != 0) + 0.01 * rng.normal(size=(2, n))
  if name == "clusters far apart":
    return x + 1e3 * rng.integers(0, 3, n), y + 1e3 * rng.integers(0, 3, n)
  if name == "one nearly constant":
    return x, 1 + 1e-6 * y
  if name == "one of few values":
    return np.round(2 * x), y
  if name == "both of few values":
    return np.round(2 * x), np.round(2 * y)
  if name == "duplicates":
    return np.repeat(x[: n // 5], 5), np.repeat(y[: n // 5], 5)
  if name == "copies":
    return x, x
  assert name == "smooth"
  return x, y


@pytest.mark.parametrize("k", [3, *map(_TRAINING, (1, 5))])
@pytest.mark.parametrize(
  "shape", [(120,), *map(_TRAINING, ((120, 1), (120, 3)))]
)
def test_ksg_matches_the_loop(k, shape):
  rng = np.random.default_rng(k)
  x = rng.normal(size=shape).astype("f")
  y = (x + rng.normal(size=shape)).astype("f")
  np.testing.assert_allclose(KSG(x, y, k=k), oracles.ksg(x, y, k), atol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize(
  "name",
  [
    "smooth",
    "heavy tails",
    "ring with its centre",
    "clusters far apart",
    "one nearly constant",
    "one of few values",
    "both of few values",
    "duplicates",
    "copies",
  ],
)
@pytest.mark.parametrize("k", [1, 4])
def test_ksg_is_exact_on_hard_samples(name, k):
  x, y = (np.asarray(v, np.float32) for v in _hard(name))
  expected = oracles.ksg(x, y, k)
  np.testing.assert_allclose(KSG(x, y, k=k), expected, atol=1e-5)
  np.testing.assert_allclose(KSG(y, x, k=k), expected, atol=1e-5)
  columns = (v[:, None] for v in (x, y))
  padded = (np.concatenate([v, 0 * v], 1) for v in columns)
  np.testing.assert_allclose(KSG(*padded, k=k), expected, atol=1e-5)


@pytest.mark.parametrize("n", [50, *map(_TRAINING, (700, 4096, 65_536))])
def test_ksg_matches_scikit_learn(n):
  x, y = _correlated(n, n)
  # scikit-learn divides by the standard deviation first.
  x, y = x / x.std(), y / y.std()
  expected = feature_selection.mutual_info_regression(
    x[:, None], y, n_neighbors=3, random_state=0
  )[0]
  np.testing.assert_allclose(KSG(x, y), expected, atol=1e-3)


@pytest.mark.training
def test_ksg_finds_the_information_of_a_gaussian():
  truth = -0.5 * np.log(1 - 0.8**2)
  estimates = [KSG(*_correlated(seed, 1300)) for seed in range(8)]
  error = np.std(estimates) / np.sqrt(len(estimates))
  assert abs(np.mean(estimates) - truth) < 4 * error + 0.01


@pytest.mark.training
@hypothesis.settings(max_examples=20)
@hypothesis.given(SEEDS)
def test_ksg_ignores_order_and_swaps(seed):
  x, y = _correlated(seed, 40)
  order = np.random.default_rng(seed).permutation(40)
  estimate = KSG(x, y)
  np.testing.assert_allclose(KSG(x[order], y[order]), estimate, atol=1e-5)
  np.testing.assert_allclose(KSG(y, x), estimate, atol=1e-5)
  np.testing.assert_allclose(KSG(-4 * x, 4 * y), estimate, atol=1e-5)


@pytest.mark.training
@hypothesis.settings(max_examples=10)
@hypothesis.given(SEEDS)
def test_ksg_of_ranks_ignores_increasing_maps(seed):
  x, y = _correlated(seed, 40)

  def of_ranks(x, y):
    return KSG(transforms.rank(x), transforms.rank(y))

  np.testing.assert_array_equal(of_ranks(np.exp(x), y**3), of_ranks(x, y))


@pytest.mark.training
@pytest.mark.parametrize("n", [60, 900])
@pytest.mark.parametrize("garbage", [1e6, np.nan, -np.inf])
def test_ksg_masked_is_ksg_compacted(n, garbage):
  x, y = _correlated(n, n)
  where = np.random.default_rng(n).random(n) < 0.6
  expected = oracles.ksg(x[where], y[where])
  # Masked samples may have any value.
  masked = KSG(np.where(where, x, garbage), y, where=where)
  np.testing.assert_allclose(masked, expected, atol=1e-5)
  masked = KSG(x, np.where(where, y, garbage), where=where)
  np.testing.assert_allclose(masked, expected, atol=1e-5)
  columns = (np.where(where, x, garbage)[:, None], np.stack([y, y], 1))
  np.testing.assert_allclose(KSG(*columns, where=where), expected, atol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize("n", [60, 900])
def test_ksg_maps_over_rows_as_a_loop_would(n):
  pairs = np.stack([_correlated(seed, n, 0.3 * seed) for seed in range(3)])
  x, y = np.swapaxes(pairs, 0, 1)
  where = np.random.default_rng(0).random((n, 3)) < 0.8

  def masked(x, y, where):
    return knn.ksg(x, y, where=where)

  # Over x alone, then over all of them, the masks along their last axis.
  shared = jax.vmap(masked, (0, None, 1))
  nested = jax.jit(jax.vmap(shared, (None, 0, None)))(x, y, where)
  for i in range(3):
    for j in range(3):
      expected = KSG(x[j], y[i], where=where[:, j])
      np.testing.assert_allclose(nested[i, j], expected, atol=1e-6)


@pytest.mark.training
def test_ksg_of_a_constant_is_zero():
  x, y = _correlated(0, 50)
  constant = np.full(50, 0.3)
  for first, second in ((constant, y), (x, constant), (constant, constant)):
    assert KSG(first, second) == 0
    assert KSG(first, second, key=jax.random.key(0)) == 0
  # The valid samples are constant.
  where = np.arange(50) < 30
  assert KSG(np.where(where, 0.3, x), y, where=where) == 0


def test_ksg_is_not_clipped():
  estimates = [
    KSG(*np.random.default_rng(seed).normal(size=(2, 50)).astype("f"))
    for seed in range(10)
  ]
  assert min(estimates) < 0 < max(estimates)


@pytest.mark.parametrize("n", [50, _TRAINING(1300)])
def test_ksg_of_a_copy_grows_with_the_number_of_samples(n):
  # k − 1 samples are nearer than the k-th: ψ(k) + ψ(N) − 2ψ(k).
  x, _ = _correlated(0, n)
  expected = special.digamma(n) - special.digamma(3)
  np.testing.assert_allclose(KSG(x, x), expected, atol=1e-5)


@pytest.mark.training
def test_jitter_breaks_ties():
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 4, (2, 1300)).astype("f")
  # Independent, yet k-th distances of 0 make it look otherwise.
  assert KSG(x, y) > 5
  jittered = [KSG(x, y, key=jax.random.key(seed)) for seed in range(5)]
  assert np.ptp(jittered) > 0
  assert jittered[0] == KSG(x, y, key=jax.random.key(0))
  assert abs(np.mean(jittered)) < 0.1
  # The jitter changes estimates from continuous samples very little.
  x, y = _correlated(0, 1300)
  change = KSG(x, y, key=jax.random.key(0)) - KSG(x, y)
  assert abs(change) < 0.01


def test_ksg_says_what_is_wrong():
  x = np.arange(9.0)
  with pytest.raises(ValueError, match="4 samples with k = 3"):
    knn.ksg(x[:4], x[:4])
  with pytest.raises(ValueError, match="samples with k = 0"):
    knn.ksg(x, x, k=0)
  with pytest.raises(ValueError, match="x has 9 rows and the other variable 8"):
    knn.ksg(x, x[:8])
  with pytest.raises(ValueError, match=r"y has shape \(9, 1, 1\)"):
    knn.ksg(x, x[:, None, None])


@pytest.mark.training
@pytest.mark.parametrize("estimate", [KSG, lambda x, y, **o: _mixed(x, **o)])
def test_too_few_that_count_or_what_is_not_finite_is_nan(estimate):
  x, y = _correlated(0, 20)
  assert np.isfinite(estimate(x, y, where=np.arange(20) < 5))
  assert np.isnan(estimate(x, y, where=np.arange(20) < 4))
  for bad in (np.nan, np.inf):
    broken = np.where(np.arange(20) == 7, bad, x)
    assert np.isnan(estimate(broken, y))
    assert np.isfinite(estimate(broken, y, where=np.arange(20) != 7))


def _mixed(x, **options):
  labels = np.arange(len(x)) % 2
  return MIXED(x, labels, num_classes=2, **options)


@pytest.mark.parametrize("k", [_TRAINING(1), 3])
@pytest.mark.parametrize("columns", [None, 1, 2])
def test_mixed_matches_the_loop(k, columns):
  x, labels = _classes(k, 150)
  # One class has two samples; the other has one, which is not counted.
  labels[:2], labels[2] = 4, 5
  if columns:
    x = np.stack([x, np.roll(x, 1)][:columns], axis=1)
  np.testing.assert_allclose(
    MIXED(x, labels, num_classes=6, k=k),
    oracles.mixed(x, labels, k),
    atol=1e-5,
  )


@pytest.mark.training
@pytest.mark.parametrize("n", [50, 1000, 65_536])
def test_mixed_matches_scikit_learn(n):
  x, labels = _classes(n, n)
  expected = feature_selection.mutual_info_classif(
    x[:, None], labels, n_neighbors=3, random_state=0
  )[0]
  # scikit-learn divides by the standard deviation first, which changes nothing.
  np.testing.assert_allclose(
    MIXED(x, labels, num_classes=4), expected, atol=1e-3
  )


@pytest.mark.parametrize("columns", [1, 2])
def test_mixed_of_ties_matches_the_loop(columns):
  x, labels = _classes(0, 200)
  x = np.round(x)
  wide = np.repeat(x[:, None], columns, axis=1)
  np.testing.assert_allclose(
    MIXED(wide, labels, num_classes=4), oracles.mixed(x, labels), atol=1e-5
  )


@pytest.mark.training
@pytest.mark.parametrize("columns", [1, 2])
def test_mixed_counts_only_what_counts(columns):
  x, labels = _classes(0, 100)
  where = np.random.default_rng(0).random(100) < 0.6
  x = np.repeat(x[:, None], columns, axis=1)
  expected = oracles.mixed(x[where], labels[where])
  masked = np.where(where[:, None], x, np.nan)
  np.testing.assert_allclose(
    MIXED(masked, labels, num_classes=4, where=where), expected, atol=1e-5
  )
  # A label out of range is not counted either.
  for other in (-1, 4, 99):
    unknown = np.where(where, labels, other)
    np.testing.assert_allclose(
      MIXED(masked, unknown, num_classes=4), expected, atol=1e-5
    )


def test_mixed_of_constants_is_zero():
  x, labels = _classes(0, 60)
  assert MIXED(np.full(60, 0.3), labels, num_classes=4) == 0
  assert MIXED(x, np.zeros(60, int), num_classes=4) == 0


@hypothesis.settings(max_examples=10)
@hypothesis.given(SEEDS)
def test_mixed_ignores_order_names_and_scale(seed):
  x, labels = _classes(seed, 50)
  order = np.random.default_rng(seed).permutation(50)
  estimate = MIXED(x, labels, num_classes=4)
  for other in (
    MIXED(x[order], labels[order], num_classes=4),
    MIXED(x, 3 - labels, num_classes=4),
    MIXED(-2 * x, labels, num_classes=4),
  ):
    np.testing.assert_allclose(other, estimate, atol=1e-5)


def test_mixed_is_not_clipped_and_jitters():
  rng = np.random.default_rng(0)
  x, labels = rng.normal(size=(10, 100)), rng.integers(0, 3, (10, 100))
  estimates = [
    MIXED(*pair, num_classes=3) for pair in zip(x, labels, strict=True)
  ]
  assert min(estimates) < 0 < max(estimates)
  ties = np.round(x[0])
  jittered = [
    MIXED(ties, labels[0], num_classes=3, key=jax.random.key(seed))
    for seed in (0, 0, 1)
  ]
  assert jittered[0] == jittered[1] != jittered[2]


def test_mixed_says_what_is_wrong():
  with pytest.raises(ValueError, match=r"labels have shape \(9, 1\)"):
    knn.mixed(np.ones(9), np.ones((9, 1), int), num_classes=2)
  with pytest.raises(ValueError, match="4 samples with k = 3"):
    knn.mixed(np.ones(4), np.ones(4, int), num_classes=2)


@pytest.mark.training
@pytest.mark.parametrize("shape", [(2, 700), (2, 40, 3)])
def test_values_that_change_compile_nothing(shape):
  traces = []

  @jax.jit
  def counted(x, y, where):
    traces.append(None)
    return knn.ksg(x, y, where=where)

  rng = np.random.default_rng(0)
  for scale in (1.0, 1e-3, 1e3):
    x, y = rng.normal(scale=scale, size=shape).astype("f")
    counted(x, y, rng.random(shape[1]) < 0.9)
  assert len(traces) == 1
  assert counted._cache_size() == 1


@pytest.mark.training
def test_distances_never_fill_a_matrix():
  n = 8192
  x = jnp.zeros((n, 2), jnp.float32)
  compiled = jax.jit(knn.ksg).lower(x, x).compile()
  scalars = jax.jit(knn.ksg).lower(x[:, 0], x[:, 0]).compile()
  for program in (compiled, scalars):
    # A matrix of float32 would take 4 n² bytes, 32,768 a row.
    assert program.memory_analysis().temp_size_in_bytes < 400 * n
