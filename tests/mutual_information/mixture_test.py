"""The estimator for ties agrees with its definition and with closed forms."""

import functools

import jax
import numpy as np
import pytest
from scipy import integrate
from scipy import stats

from btw_jax.mutual_information import knn
from support import oracles
from support import samples

MIXTURE = jax.jit(knn.mixture, static_argnames="k")
ADAPTIVE = jax.jit(knn.adaptive, static_argnames="k")
KSG = jax.jit(knn.ksg, static_argnames="k")
_TRAINING = functools.partial(pytest.param, marks=pytest.mark.training)
N = 200


def _inflate(rng, x):
  """Sets half of the samples to 0."""
  return np.where(rng.random(len(x)) < 0.5, 0.0, x)


def _pair(name, n=N):
  rng = np.random.default_rng(0)
  x, y = samples.correlated(0, n)
  return {
    "continuous": lambda: (x, y),
    "discrete": lambda: (np.round(2 * x), np.round(2 * y)),
    "one discrete": lambda: (np.round(x), y),
    "inflated": lambda: (_inflate(rng, x), _inflate(rng, y)),
    "duplicates": lambda: [np.repeat(v[: n // 5], 5) for v in (x, y)],
    "signed zeros": lambda: [
      np.sign(v) * rng.integers(0, 2, n) for v in (x, y)
    ],
    "copies": lambda: (np.round(4 * x), np.round(4 * x)),
  }[name]()


NAMES = (
  "inflated",
  *map(
    _TRAINING,
    (
      "continuous", "discrete", "one discrete", "duplicates", "signed zeros",
      "copies",
    ),
  ),
)  # fmt: skip


@pytest.mark.parametrize("k", [3, *map(_TRAINING, (1, 5))])
@pytest.mark.parametrize("name", NAMES)
def test_mixture_matches_the_loop(name, k):
  x, y = (v.astype("f") for v in _pair(name))
  expected = oracles.tied_mixture(x, y, k)
  np.testing.assert_allclose(MIXTURE(x, y, k=k), expected, atol=1e-5)
  np.testing.assert_allclose(MIXTURE(y, x, k=k), expected, atol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize("name", ["continuous", "discrete", "inflated"])
def test_mixture_of_vectors_matches_the_loop(name):
  x, y = (v.astype("f") for v in _pair(name))
  wide = np.stack([x, np.roll(x, 1)], axis=1)
  np.testing.assert_allclose(
    MIXTURE(wide, y), oracles.tied_mixture(wide, y), atol=1e-5
  )
  # A column of zeros changes nothing, and makes vectors of scalars.
  padded = np.stack([x, 0 * x], axis=1)
  np.testing.assert_allclose(MIXTURE(padded, y), MIXTURE(x, y), atol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize("k", [1, 4])
def test_without_ties_mixture_is_ksg_but_for_the_mean_count(k):
  x, y = (v.astype("f") for v in samples.correlated(1, 1300))
  # ψ(N) = log N − 1 / (2N) − 1 / (12N²) + ...
  np.testing.assert_allclose(
    MIXTURE(x, y, k=k) - KSG(x, y, k=k), 1 / 2600, atol=1e-5
  )


@pytest.mark.parametrize("num_equal", [5, 15])
def test_adaptive_is_ksg_until_many_samples_are_equal(num_equal):
  """5 of 200 samples are 2.5 %, 15 are 7.5 %; 5 % is the limit."""
  pair = []
  for v in samples.correlated(0, N):
    v = v.astype("f")
    v[:num_equal] = 0
    pair.append(v)
  method = MIXTURE if num_equal == 15 else KSG
  assert ADAPTIVE(*pair) == method(*pair)
  assert abs(MIXTURE(*pair) - KSG(*pair)) > 1e-3
  # A column of zeros makes vectors of scalars.
  columns = [np.stack([v, 0 * v], axis=1) for v in pair]
  np.testing.assert_allclose(ADAPTIVE(*columns), method(*pair), atol=1e-5)


def _mean_estimate(draw, n=1300, num_seeds=8):
  """Returns the mean estimate over seeds, and its standard error."""
  estimates = [
    MIXTURE(*(v.astype("f") for v in draw(np.random.default_rng(seed), n)))
    for seed in range(num_seeds)
  ]
  return np.mean(estimates), np.std(estimates) / np.sqrt(num_seeds)


@pytest.mark.training
def test_mixture_of_classes_is_the_plug_in_estimate():
  """Ties alone: `ksg` gives more than 5 nats for independent classes."""

  def draw(rng, n):
    x, other = rng.integers(0, 4, (2, n))
    return x, np.where(rng.random(n) < 0.6, x, other)

  # y is x with probability 0.6 + 0.4 / 4.
  truth = np.log(4) - stats.entropy([0.7, 0.1, 0.1, 0.1])
  mean, error = _mean_estimate(draw)
  assert abs(mean - truth) < 4 * error + 0.01
  x, y = draw(np.random.default_rng(0), 1300)
  table = np.histogram2d(x, y, bins=4)[0] / 1300
  # Differences of ψ and log add up to at most the number of cells / (2N).
  np.testing.assert_allclose(
    MIXTURE(x.astype("f"), y.astype("f")),
    oracles.table_information(table),
    atol=16 / 2600,
  )
  independent, error = _mean_estimate(lambda rng, n: rng.integers(0, 4, (2, n)))
  assert abs(independent) < 4 * error + 0.005


@pytest.mark.training
@pytest.mark.parametrize("m", [3, 5])
def test_mixture_of_a_class_and_a_uniform_variable(m):
  """An example of the paper: Y is uniform from X to X + 2."""

  def draw(rng, n):
    x = rng.integers(0, m, n)
    return x, x + rng.uniform(0, 2, n)

  truth = np.log(m) - (m - 1) / m * np.log(2)
  mean, error = _mean_estimate(draw)
  assert abs(mean - truth) < 4 * error + 0.02


def _poisson_information(p):
  """Integrates I(X; Y): X exponential, Y 0 with probability p, else Poisson."""
  counts = np.arange(60)
  # A Poisson variable with an exponential mean is geometric.
  p_y = (1 - p) * 0.5 ** (counts + 1) + p * (counts == 0)

  def integrand(x):
    given_x = (1 - p) * stats.poisson.pmf(counts, x) + p * (counts == 0)
    return np.exp(-x) * stats.entropy(given_x, p_y)

  return integrate.quad(integrand, 0, 40, limit=200)[0]


def test_the_integral_has_the_closed_form_of_plain_counts():
  k = np.arange(1, 60)
  expected = 2 * np.log(2) - np.euler_gamma - np.sum(np.log(k) / 2.0**k)
  np.testing.assert_allclose(_poisson_information(0.0), expected, rtol=1e-6)


@pytest.mark.training
@pytest.mark.parametrize("p", [0.0, 0.15, 0.5])
def test_mixture_of_a_zero_inflated_count(p):
  """An example of the paper: an atom among counts."""

  def draw(rng, n):
    x = rng.exponential(size=n)
    return x, np.where(rng.random(n) < p, 0, rng.poisson(x))

  mean, error = _mean_estimate(draw)
  assert abs(mean - _poisson_information(p)) < 4 * error + 0.03


@pytest.mark.training
def test_mixture_of_a_rare_class_and_rounded_samples():
  """Ties at 0 are counted; those at a larger radius leave a small bias."""

  def draw(rng, n):
    labels = np.zeros(n)
    labels[rng.permutation(n)[:100]] = 1
    return np.round(rng.normal(size=n), 2), labels

  mean, _ = _mean_estimate(draw, n=5000, num_seeds=4)
  # They are independent; the label has 0.098 nats.
  assert abs(mean) < stats.entropy([0.02, 0.98]) / 4
  x, labels = draw(np.random.default_rng(0), 5000)
  assert abs(knn.mixed(x, labels.astype(int), num_classes=2)) > 1


@pytest.mark.training
@pytest.mark.parametrize("name", ["continuous", "discrete", "inflated"])
@pytest.mark.parametrize("garbage", [0.0, 1e6, np.nan, -np.inf])
def test_padding_changes_nothing(name, garbage):
  x, y = (v.astype("f") for v in _pair(name))
  where = np.random.default_rng(1).random(N) < 0.6
  expected = oracles.tied_mixture(x[where], y[where])
  padded = [np.where(where, v, garbage).astype("f") for v in (x, y)]
  for first, second in ((padded[0], y), (x, padded[1]), padded):
    np.testing.assert_allclose(
      MIXTURE(first, second, where=where), expected, atol=1e-5
    )
  columns = [np.stack([v, v], axis=1) for v in padded]
  np.testing.assert_allclose(
    MIXTURE(*columns, where=where), expected, atol=1e-5
  )


@pytest.mark.training
def test_vmap_is_a_loop():
  names = ("continuous", "discrete", "inflated")
  x, y = np.swapaxes([_pair(name) for name in names], 0, 1).astype("f")
  where = np.random.default_rng(0).random((3, N)) < 0.8

  def masked(x, y, where):
    return knn.mixture(x, y, where=where)

  mapped = jax.jit(jax.vmap(masked))(x, y, where)
  shared = jax.jit(jax.vmap(masked, (0, None, None)))(x, y[0], where[0])
  for i in range(3):
    np.testing.assert_allclose(
      mapped[i], MIXTURE(x[i], y[i], where=where[i]), atol=1e-6
    )
    np.testing.assert_allclose(
      shared[i], MIXTURE(x[i], y[0], where=where[0]), atol=1e-6
    )


def test_mixture_of_a_constant_is_zero_and_of_too_few_nan():
  x, y = (v.astype("f") for v in _pair("inflated"))
  assert MIXTURE(np.full(N, 0.3), y) == 0
  assert np.isnan(MIXTURE(x, y, where=np.arange(N) < 4))
  assert np.isnan(MIXTURE(np.where(np.arange(N) == 7, np.nan, x), y))
  with pytest.raises(ValueError, match="4 samples with k = 3"):
    knn.mixture(x[:4], y[:4])
  with pytest.raises(ValueError, match=r"y has shape \(9, 1, 1\)"):
    knn.mixture(x[:9], y[:9, None, None])
