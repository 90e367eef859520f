"""The properties that all estimators of mutual information share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.mutual_information import binned
from btw_jax.mutual_information import copula
from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import knn
from btw_jax.mutual_information import transforms

N = 40


def _mixed(x, y, **options):
  labels = jnp.digitize(y, jnp.array([-0.5, 0.5]))
  return knn.mixed(x, labels, num_classes=3, **options)


def _probs(x):
  return jax.nn.softmax(jnp.stack([0 * x, x, 2 * x], axis=-1))


def _plug_in(x, y, **options):
  joint = discrete.soft_contingency(_probs(x), _probs(y), **options)
  return discrete.from_joint(joint)


def _gaussian(x, y, **options):
  return correlation.gaussian_information(correlation.pearson(x, y, **options))


def _standardised(x, y, **options):
  x, y = (transforms.standardise(v, **options) for v in (x, y))
  return knn.ksg(x, y, **options)


SCALARS = {
  "ksg": knn.ksg,
  "mixed": _mixed,
  "mixture": knn.mixture,
  "copula": copula.gaussian_copula,
  "binned": functools.partial(binned.binned, num_bins=5),
  "plug-in": _plug_in,
  "gaussian": _gaussian,
}


VECTORS = {
  "ksg": knn.ksg,
  "mixture": knn.mixture,
  "copula": copula.gaussian_copula,
}


# These estimates change with any sample, not only when ranks change.
SMOOTH = {"plug-in", "gaussian"}


def _pairs(num_pairs=3, columns=None):
  rng = np.random.default_rng(0)
  shape = (num_pairs, N) if columns is None else (num_pairs, N, columns)
  x = rng.normal(size=shape)
  return x, 0.7 * x + 0.7 * rng.normal(size=shape)


ALL = [
  *(pytest.param(f, None, id=name) for name, f in SCALARS.items()),
  *(pytest.param(f, 2, id=f"{name} of vectors") for name, f in VECTORS.items()),
]


@pytest.mark.training
@pytest.mark.parametrize(("estimator", "columns"), ALL)
def test_vmap_changes_nothing(estimator, columns):
  x, y = (v.astype("f") for v in _pairs(columns=columns))
  one = jax.jit(estimator)
  looped = [one(*pair) for pair in zip(x, y, strict=True)]
  assert np.ptp(looped) > 0.01
  mapped = jax.jit(jax.vmap(estimator))(x, y)
  np.testing.assert_allclose(mapped, looped, atol=1e-5)


@pytest.mark.parametrize("estimator", [_plug_in, _gaussian])
def test_jit_changes_nothing(estimator):
  """Checks only these estimators: the others take long to compile unjitted."""
  x, y = (v[0].astype("f") for v in _pairs())
  jitted = jax.jit(estimator)(x, y)
  np.testing.assert_allclose(estimator(x, y), jitted, atol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize(("estimator", "columns"), ALL)
def test_precisions_agree(estimator, columns):
  estimator = jax.jit(estimator)
  x, y = (v[0] for v in _pairs(columns=columns))
  single = estimator(x.astype("f"), y.astype("f"))
  assert single.dtype == jnp.float32
  with jax.enable_x64(True):
    double = estimator(jnp.asarray(x), jnp.asarray(y))
    assert double.dtype == jnp.float64
  np.testing.assert_allclose(single, double, atol=1e-4)
  halves = [jnp.asarray(v, jnp.bfloat16) for v in (x, y)]
  half = estimator(*halves)
  assert half.dtype == jnp.float32
  # Rounded samples, not rounded arithmetic.
  wide = estimator(*(v.astype(jnp.float32) for v in halves))
  np.testing.assert_allclose(half, wide, atol=2e-2)


@pytest.mark.training
@pytest.mark.parametrize(
  ("estimator", "columns"),
  [*ALL, pytest.param(_standardised, None, id="ksg standardised")],
)
def test_gradients_are_finite_even_of_constants(estimator, columns):
  slope = jax.jit(jax.grad(estimator))
  x, y = (v[0].astype("f") for v in _pairs(columns=columns))
  where = np.arange(N) < 30
  for samples in (x, np.zeros_like(x)):
    masked = np.where(where.reshape(-1, *[1] * (x.ndim - 1)), samples, np.nan)
    gradient = slope(samples, y)
    assert np.all(np.isfinite(gradient))
    if estimator is not _plug_in:
      gradient = slope(masked, y, where=where)
      assert np.all(np.isfinite(gradient[where]))
  moves = np.any(slope(x, y) != 0)
  assert moves == any(estimator is SCALARS[name] for name in SMOOTH)


@pytest.mark.training
@pytest.mark.parametrize(("estimator", "columns"), ALL)
def test_order_does_not_matter(estimator, columns):
  estimate = jax.jit(estimator)
  x, y = (v[0].astype("f") for v in _pairs(columns=columns))
  order = np.random.default_rng(0).permutation(N)
  value = estimate(x, y)
  np.testing.assert_allclose(estimate(x[order], y[order]), value, atol=1e-5)
  if estimator is not _mixed:
    np.testing.assert_allclose(estimate(y, x), value, atol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize(("estimator", "columns"), ALL)
def test_a_mask_is_a_smaller_set(estimator, columns):
  estimate = jax.jit(estimator)
  x, y = (v[0].astype("f") for v in _pairs(columns=columns))
  where = np.random.default_rng(0).random(N) < 0.7
  np.testing.assert_allclose(
    estimate(x, y, where=where), estimate(x[where], y[where]), atol=1e-4
  )


@pytest.mark.training
@pytest.mark.parametrize("name", SCALARS)
def test_more_dependence_is_more_information(name):
  estimate = jax.jit(SCALARS[name])
  rng = np.random.default_rng(0)
  x, noise = rng.normal(size=(2, 2000)).astype("f")
  estimates = [
    estimate(x, rho * x + np.sqrt(1 - rho**2) * noise)
    for rho in (0.0, 0.5, 0.9)
  ]
  assert abs(estimates[0]) < 0.05
  assert estimates[0] < estimates[1] < estimates[2]
