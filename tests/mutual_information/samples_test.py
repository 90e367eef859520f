"""NumPy samples keep their digits on the way to the dtype of a computation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax.mutual_information import binned
from btw_jax.mutual_information import copula
from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import knn
from btw_jax.mutual_information import samples
from btw_jax.mutual_information import transforms
from support import oracles
from support import samples as known

N = 60
_TRAINING = pytest.mark.training
X, Y = known.correlated(0, N)


def _labels(y):
  return np.digitize(y, np.quantile(y, (1 / 3, 2 / 3)))


def _mixed(x, y, **options):
  return knn.mixed(x, _labels(y), num_classes=3, **options)


def _gaussian_copula(x, y):
  scores = stats.norm.ppf((stats.rankdata([x, y], axis=1) - 0.5) / len(x))
  return -0.5 * np.log(1 - np.corrcoef(scores)[0, 1] ** 2)


def _binned(x, y):
  counts = np.histogram2d(x - x.min(), y - y.min(), bins=5)[0]
  return oracles.table_information(counts / len(x))


# name -> estimator, and its definition in float64
ESTIMATORS = {
  "ksg": (knn.ksg, oracles.ksg),
  "mixed": (_mixed, lambda x, y: oracles.mixed(x, _labels(y))),
  "mixture": (knn.mixture, oracles.tied_mixture),
  "copula": (copula.gaussian_copula, _gaussian_copula),
  "binned": (functools.partial(binned.binned, num_bins=5), _binned),
  "pearson": (
    correlation.pearson,
    lambda x, y: np.corrcoef(x - x.mean(), y - y.mean())[0, 1],
  ),
}
# Neighbours take long to compile without jit, which would convert the samples.
NAMES = pytest.mark.parametrize(
  "name",
  [
    pytest.param(n, marks=_TRAINING) if n in ("ksg", "mixed", "mixture") else n
    for n in ESTIMATORS
  ],
)
CHANGES = {
  "+ 1e6": lambda v: v + 1e6,
  "+ 1e8": lambda v: v + 1e8,
  "- 1e8": lambda v: v - 1e8,
  "* 1e18": lambda v: 1e18 * v,
  "* 1e-20": lambda v: 1e-20 * v,
  "* 1e200": lambda v: 1e200 * v,
  "* 1e-200": lambda v: 1e-200 * v,
  "int64": lambda v: (1e6 * v).astype(np.int64) + 2**40,
  "all of int64": lambda v: (v / np.abs(v).max() * (2**63 - 1024)).astype(
    np.int64
  ),
  "uint64": lambda v: (1e6 * v + 1e8).astype(np.uint64) + np.uint64(2**63),
}


@pytest.mark.parametrize("change", CHANGES)
@NAMES
def test_estimates_are_those_of_the_samples_as_given(name, change):
  estimator, oracle = ESTIMATORS[name]
  x, y = (CHANGES[change](v) for v in (X, Y))
  # Python's numbers subtract without overflow; both variables get one factor.
  exact = [v.astype(object) - v.tolist()[0] for v in (x, y)]
  largest = max(np.abs(v).max() for v in exact)
  exact = [v / largest for v in exact]
  expected = oracle(*(v.astype(float) for v in exact))
  np.testing.assert_allclose(estimator(x, y), expected, atol=2e-5)
  # A single variable may be far away.
  if change == "+ 1e8":
    np.testing.assert_allclose(estimator(x, Y), oracle(X, Y), atol=2e-5)


@_TRAINING
@pytest.mark.parametrize("name", ["ksg", "mixed"])
def test_vectors_and_jitter_keep_their_digits(name):
  estimator, oracle = ESTIMATORS[name]
  vectors = np.stack([X, np.roll(X, 1)], 1)
  np.testing.assert_allclose(
    estimator(vectors + np.array([1e8, -1e6]), Y + (name == "ksg") * 1e8),
    oracle(vectors, Y), atol=2e-5,
  )  # fmt: skip
  key = jax.random.key(0)
  np.testing.assert_allclose(
    estimator(X + 1e8, Y, key=key), estimator(X, Y, key=key), atol=2e-3
  )


@NAMES
def test_what_does_not_count_changes_nothing(name):
  estimator, _ = ESTIMATORS[name]
  if name == "mixed":
    # Labels that do not depend on the other samples.
    estimator = lambda x, y, **options: knn.mixed(  # noqa: E731
      x, (y > 0).astype(int), num_classes=2, **options
    )
  where = np.arange(N) % 4 > 0
  expected = estimator(X[where] + 1e8, Y[where])
  for garbage in (0.0, 1e300, np.nan, -np.inf):
    x = np.where(where, X + 1e8, garbage)
    for mask in (where, jnp.asarray(where)):
      actual = estimator(x, Y, where=mask)
      np.testing.assert_allclose(actual, expected, atol=1e-5)
  integers = (1e6 * X).astype(np.int64) + 2**62
  expected = estimator(integers[where], Y[where])
  for garbage in (np.iinfo(np.int64).min, np.iinfo(np.int64).max):
    actual = estimator(np.where(where, integers, garbage), Y, where=where)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@NAMES
def test_samples_that_float32_cannot_tell_apart_are_refused(name):
  estimator, oracle = ESTIMATORS[name]
  x = X + 1e12 * (np.arange(N) % 3)
  with pytest.raises(
    ValueError, match=r"x has 60 distinct values, of which float32 keeps \d+"
  ):
    estimator(x, Y)
  # A sample far away changes only its own term, at most 2 ψ(N) / N.
  x = X + 1e12 * (np.arange(N) == 7)
  atol = {"copula": 2e-5, "pearson": 2e-5}.get(name, 2 * np.log(N) / N)
  np.testing.assert_allclose(estimator(x, Y), oracle(x, Y), atol=atol)


def test_pearson_of_any_scale_in_float32():
  for first, second in (
    (1e18, 1.0),
    (1e18, 1e18),
    (1e-20, 1e-20),
    (1e36, 1e-30),
  ):
    x, y = jnp.float32(first * X), jnp.float32(second * Y)
    for pearson in (correlation.pearson, jax.jit(correlation.pearson)):
      np.testing.assert_allclose(
        pearson(x, y), np.corrcoef(X, Y)[0, 1], atol=1e-6
      )
  slope = jax.grad(correlation.pearson)(jnp.float32(1e18 * X), jnp.float32(Y))
  usual = jax.grad(correlation.pearson)(jnp.float32(X), jnp.float32(Y))
  np.testing.assert_allclose(1e18 * slope, usual, rtol=1e-3, atol=1e-7)


@_TRAINING
def test_labels_beyond_int32_count_as_no_class():
  labels = _labels(Y).astype(np.int64)
  labels[:20] += 2**32
  np.testing.assert_allclose(
    knn.mixed(X, labels, num_classes=3),
    knn.mixed(X[20:], labels[20:], num_classes=3),
    atol=1e-6,
  )


def test_transforms_keep_digits():
  expected = (X - X.mean()) / X.std()
  np.testing.assert_allclose(
    transforms.standardise(X + 1e8), expected, atol=1e-6
  )
  np.testing.assert_allclose(
    transforms.uniform_scores(X + 1e8), (stats.rankdata(X) - 0.5) / N, rtol=1e-6
  )


def test_arrays_of_jax_and_tracers_are_not_touched():
  x = jnp.float32(X) + 100
  for convert in (samples.convert, jax.jit(samples.convert)):
    (converted,) = convert({"x": x})
    np.testing.assert_array_equal(converted, x)
  with jax.enable_x64():
    (wide,) = samples.convert({"x": X + 100})
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide + np.median(X), X, atol=0.1)
    assert np.unique(wide).size == N
