import itertools

import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import divergences
from support import oracles

LOGITS = st.floats(-30, 30, width=32)
EXTREMES = np.array([-np.inf, -1e4, -50.0, 0.0, 50.0, 1e4, np.inf])


def _distribution(logits, dtype=np.float64):
  return special.log_softmax(np.asarray(logits, dtype), axis=-1)


@hypothesis.given(
  hnp.arrays(np.float32, (2, 5), elements=LOGITS),
)
def test_categorical_matches_the_sum(logits):
  p, q = _distribution(logits)
  expected = oracles.categorical_kl(np.exp(p), np.exp(q))
  actual = divergences.categorical_kl(p.astype("f"), q.astype("f"))
  np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-5)


@hypothesis.given(hnp.arrays(np.float32, (3, 4), elements=LOGITS))
def test_a_distribution_does_not_differ_from_itself(logits):
  p = jax.nn.log_softmax(logits)
  np.testing.assert_array_equal(divergences.categorical_kl(p, p), 0.0)
  np.testing.assert_array_equal(divergences.bernoulli_kl(logits, logits), 0.0)
  std = np.exp(logits / 10)
  same = divergences.gaussian_kl(logits, std, logits, std)
  np.testing.assert_array_equal(same, 0.0)
  same = divergences.laplace_kl(logits, std, logits, std)
  np.testing.assert_array_equal(same, 0.0)


@hypothesis.given(hnp.arrays(np.float32, (4, 7), elements=LOGITS))
def test_divergences_are_not_negative(logits):
  p, q = jax.nn.log_softmax(logits[:2])
  mean, other = logits[0], logits[1]
  std, wide = np.exp(logits[2] / 6), np.exp(logits[3] / 6)
  for value in (
    divergences.categorical_kl(p, q),
    divergences.bernoulli_kl(logits[0], logits[1]),
    divergences.gaussian_kl(mean, std, other, wide),
    divergences.laplace_kl(mean, std, other, wide),
  ):
    assert np.all(np.asarray(value) > -1e-5)


@pytest.mark.parametrize(
  ("kl", "law"),
  [
    (divergences.gaussian_kl, stats.norm),
    (divergences.laplace_kl, stats.laplace),
  ],
)
@pytest.mark.parametrize(
  "parameters",
  [(0.0, 1.0, 0.5, 2.0), (-1.0, 0.3, 1.0, 0.8), (2.0, 3.0, 2.0, 1.0)],
)
def test_real_valued_divergences_match_the_integral(kl, law, parameters):
  p, q = law(*parameters[:2]), law(*parameters[2:])

  def integrand(x):
    return p.pdf(x) * (p.logpdf(x) - q.logpdf(x))

  expected = oracles.integrate_density(integrand, parameters)
  np.testing.assert_allclose(kl(*parameters), expected, rtol=1e-5)


def test_bernoulli_matches_the_sum_over_both_outcomes():
  p, q = np.array([[-3.0, 0.2, 25.0], [4.0, -1.0, 22.0]])
  expected = sum(
    special.expit(s * p) * (special.log_expit(s * p) - special.log_expit(s * q))
    for s in (1, -1)
  )
  np.testing.assert_allclose(divergences.bernoulli_kl(p, q), expected, 1e-5)
  pairs = (jax.nn.log_softmax(jnp.stack([0 * v, v], -1)) for v in (p, q))
  np.testing.assert_allclose(
    divergences.categorical_kl(*pairs), expected, rtol=1e-5, atol=1e-8
  )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extreme_logits_and_probabilities_stay_finite(dtype):
  p, q = (v.ravel() for v in np.meshgrid(EXTREMES, EXTREMES))
  p, q = jnp.asarray(p, dtype), jnp.asarray(q, dtype)

  def total(p, q):
    return jnp.sum(divergences.bernoulli_kl(p, q))

  for value in (total(p, q), *jax.grad(total, (0, 1))(p, q)):
    assert np.all(np.isfinite(np.asarray(value, np.float32)))
  # A certain right prediction gives 0; a wrong one is finite but large.
  log_probs = jnp.log(jnp.asarray([[1.0, 0.0], [0.0, 1.0]], dtype))

  def of_certain(p, q):
    return divergences.categorical_kl(p, q)

  assert of_certain(log_probs[0], log_probs[0]) == 0
  assert 50 < of_certain(log_probs[0], log_probs[1]) < 100
  for gradient in jax.grad(of_certain, (0, 1))(*log_probs):
    assert np.all(np.isfinite(np.asarray(gradient, np.float32)))


def test_far_logits_are_not_clipped():
  p = jax.nn.log_softmax(jnp.array([1e4, -1e4]))
  q = jax.nn.log_softmax(jnp.array([-1e4, 1e4]))
  np.testing.assert_allclose(divergences.categorical_kl(p, q), 2e4)
  np.testing.assert_allclose(divergences.bernoulli_kl(1e4, -1e4), 1e4)


@pytest.mark.parametrize(
  "kl", [divergences.gaussian_kl, divergences.laplace_kl]
)
@pytest.mark.parametrize("std", [1e-6, 1e-3, 1.0, 1e6])
def test_small_spreads_keep_finite_gradients(kl, std):
  for mean in (0.0, 1e-8, 3.0):
    arguments = (jnp.float32(mean), jnp.float32(std), 0.0, jnp.float32(1e-6))
    for value in (kl(*arguments), *jax.grad(kl, (0, 1, 2, 3))(*arguments)):
      assert np.isfinite(value)


def test_jit_vmap_and_float64_agree():
  rng = np.random.default_rng(0)
  p, q = _distribution(rng.normal(size=(2, 8, 4)))
  plain = divergences.categorical_kl(p, q)
  jitted = jax.jit(divergences.categorical_kl)(p, q)
  np.testing.assert_allclose(jitted, plain, rtol=1e-6)
  looped = [divergences.categorical_kl(a, b) for a, b in zip(p, q, strict=True)]
  np.testing.assert_allclose(plain, looped, rtol=1e-6)
  with jax.enable_x64(True):
    exact = divergences.categorical_kl(p, q)
    assert exact.dtype == jnp.float64
    np.testing.assert_allclose(
      exact,
      [
        oracles.categorical_kl(np.exp(a), np.exp(b))
        for a, b in zip(p, q, strict=True)
      ],
      rtol=1e-12,
    )


def test_classes_must_agree():
  with pytest.raises(ValueError, match="classes"):
    divergences.categorical_kl(jnp.zeros(3), jnp.zeros(4))


def test_near_distributions_keep_their_digits():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(50, 6))
  other = logits + 1e-3 * rng.normal(size=(50, 6))
  pairs = [special.log_softmax(v, -1) for v in (logits, other)]
  exact = [
    oracles.categorical_kl(*np.exp(pair)) for pair in zip(*pairs, strict=True)
  ]
  near = divergences.categorical_kl(*(v.astype("f") for v in pairs))
  assert np.max(exact) < 2e-6
  np.testing.assert_allclose(near, exact, rtol=5e-3)


def _jeffreys(kl):
  """Makes a Jeffreys divergence that takes the same arguments as `kl`."""

  def measure(*arguments):
    half = len(arguments) // 2
    return divergences.jeffreys(kl, arguments[:half], arguments[half:])

  return measure


(
  CATEGORICAL_JEFFREYS,
  BERNOULLI_JEFFREYS,
  GAUSSIAN_JEFFREYS,
  LAPLACE_JEFFREYS,
) = (
  _jeffreys(kl)
  for kl in (
    divergences.categorical_kl,
    divergences.bernoulli_kl,
    divergences.gaussian_kl,
    divergences.laplace_kl,
  )
)


def _log_laplace(x, loc, scale):
  return -abs(x - loc) / scale - np.log(2 * scale)


REAL = [
  (divergences.gaussian_js, GAUSSIAN_JEFFREYS, stats.norm.logpdf),
  (divergences.laplace_js, LAPLACE_JEFFREYS, _log_laplace),
]
PAIRS = [
  (0.0, 1.0, 0.0, 1.0),
  (0.0, 1.0, 0.5, 2.0),
  (0.0, 1.0, 3.0, 0.05),
  (2.0, 1e-3, 0.0, 1.0),
  (0.0, 1.0, 6.0, 1.0),
  (-5.0, 1.0, 5.0, 30.0),
  (0.0, 1.0, 1e-3, 1.001),
]


@pytest.mark.parametrize(("js", "jeffreys", "log_density"), REAL)
@pytest.mark.parametrize("parameters", PAIRS)
def test_symmetric_divergences_match_the_integral(
  js, jeffreys, log_density, parameters
):
  def between(x):
    log_p, log_q = (log_density(x, *v) for v in laws)
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    apart = np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)
    return 0.5 * apart

  def both_ways(x):
    log_p, log_q = (log_density(x, *v) for v in laws)
    return (np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)

  laws = parameters[:2], parameters[2:]
  parameters32 = np.float32(parameters)
  turned = np.roll(parameters32, 2)
  for measure, integrand, tolerance in (
    (js, between, {"rtol": 0, "atol": 1e-6}),
    (jeffreys, both_ways, {"rtol": 1e-3, "atol": 1e-6}),
  ):
    expected = oracles.integrate_density(integrand, parameters)
    np.testing.assert_allclose(measure(*parameters32), expected, **tolerance)
    np.testing.assert_allclose(
      measure(*turned), measure(*parameters32), rtol=1e-5, atol=1e-7
    )


@pytest.mark.training
@hypothesis.given(hnp.arrays(np.float32, (2, 5), elements=LOGITS))
def test_symmetric_divergences_of_classes_match_the_sums(logits):
  log_p, log_q = _distribution(logits)
  p, q = np.exp(log_p), np.exp(log_q)
  m = (p + q) / 2
  js = (oracles.categorical_kl(p, m) + oracles.categorical_kl(q, m)) / 2
  jeffreys = oracles.categorical_kl(p, q) + oracles.categorical_kl(q, p)
  arguments = log_p.astype("f"), log_q.astype("f")
  np.testing.assert_allclose(
    divergences.categorical_js(*arguments), js, rtol=2e-5, atol=1e-6
  )
  np.testing.assert_allclose(
    CATEGORICAL_JEFFREYS(*arguments), jeffreys, rtol=2e-5, atol=1e-5
  )
  # A binary label is a class of two.
  pairs = (jax.nn.log_softmax(np.stack([0 * v, v], -1)) for v in logits)
  np.testing.assert_allclose(
    divergences.bernoulli_js(*logits),
    divergences.categorical_js(*pairs),
    rtol=1e-4,
    atol=1e-6,
  )
  np.testing.assert_allclose(
    BERNOULLI_JEFFREYS(*logits),
    divergences.bernoulli_kl(*logits) + divergences.bernoulli_kl(*logits[::-1]),
    rtol=1e-5,
  )


def test_near_distributions_keep_their_digits_under_js():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(50, 6))
  other = logits + 1e-3 * rng.normal(size=(50, 6))
  pairs = [special.log_softmax(v, -1) for v in (logits, other)]
  exact = []
  for p, q in zip(*np.exp(pairs), strict=True):
    m = (p + q) / 2
    exact.append(oracles.categorical_kl(p, m) + oracles.categorical_kl(q, m))
  near = divergences.categorical_js(*(v.astype("f") for v in pairs))
  assert np.max(exact) < 2e-6
  np.testing.assert_allclose(near, np.array(exact) / 2, rtol=5e-3)


def test_js_of_the_certain_and_opposite_is_log_two():
  certain = np.where(np.eye(2), 0.0, -np.inf).astype("f")
  np.testing.assert_allclose(
    divergences.categorical_js(*certain), np.log(2), rtol=1e-6
  )
  np.testing.assert_allclose(
    divergences.bernoulli_js(-np.inf, np.inf), np.log(2), rtol=1e-6
  )
  for js in (divergences.gaussian_js, divergences.laplace_js):
    np.testing.assert_allclose(js(0.0, 1e-6, 1.0, 1e-6), np.log(2), rtol=1e-6)


DISCRETE = [
  divergences.bernoulli_kl,
  BERNOULLI_JEFFREYS,
  divergences.bernoulli_js,
]
CLASSES = [
  divergences.categorical_kl,
  CATEGORICAL_JEFFREYS,
  divergences.categorical_js,
]
CONTINUOUS = [
  divergences.gaussian_kl,
  GAUSSIAN_JEFFREYS,
  divergences.gaussian_js,
  divergences.laplace_kl,
  LAPLACE_JEFFREYS,
  divergences.laplace_js,
]
DTYPES = [jnp.bfloat16, jnp.float32, jnp.float64]


def _assert_finite(function, arguments):
  total = jax.value_and_grad(
    lambda *v: jnp.sum(function(*v)), tuple(range(len(arguments)))
  )
  value, gradients = jax.jit(total)(*arguments)
  for array in (value, *gradients):
    assert np.all(np.isfinite(np.asarray(array, np.float64)))


@pytest.mark.training
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("divergence", DISCRETE + CLASSES)
def test_no_extreme_of_a_discrete_law_breaks_a_divergence(divergence, dtype):
  with jax.enable_x64(dtype == jnp.float64):
    grid = np.stack([v.ravel() for v in np.meshgrid(EXTREMES, EXTREMES)])
    if divergence in CLASSES:
      logits = np.clip(grid, -1e4, 1e4)
      grid = special.log_softmax(np.stack([0 * logits, logits], -1), axis=-1)
      certain = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
      grid = np.concatenate([grid, np.stack([certain, certain[::-1]])], axis=1)
    _assert_finite(divergence, [jnp.asarray(v, dtype) for v in grid])


@pytest.mark.training
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("divergence", CONTINUOUS)
def test_no_extreme_of_a_real_law_breaks_a_divergence(divergence, dtype):
  with jax.enable_x64(dtype == jnp.float64):
    means, stds = (0.0, 1e-8, -3.0), (1e-6, 1e-3, 1.0, 1e6)
    grid = itertools.product(means, stds, means, stds)
    columns = np.array(list(grid)).T
    _assert_finite(divergence, [jnp.asarray(v, dtype) for v in columns])


@pytest.mark.training
@pytest.mark.parametrize("divergence", DISCRETE + CLASSES + CONTINUOUS)
def test_every_divergence_jits_maps_and_keeps_float64(divergence):
  rng = np.random.default_rng(0)
  count = 4 if divergence in CONTINUOUS else 2
  arguments = rng.normal(size=(count, 6, 3))
  if divergence in CONTINUOUS:
    arguments[1::2] = np.exp(arguments[1::2])
  if divergence in CLASSES:
    arguments = special.log_softmax(arguments, axis=-1)
  single = [v.astype("f") for v in arguments]
  plain, one = divergence(*single), jax.jit(divergence)
  assert plain.dtype == jnp.float32
  np.testing.assert_allclose(one(*single), plain, rtol=1e-5)
  mapped = jax.jit(jax.vmap(divergence))(*single)
  np.testing.assert_allclose(mapped, plain, rtol=1e-5)
  looped = [one(*row) for row in zip(*single, strict=True)]
  np.testing.assert_allclose(looped, plain, rtol=1e-5, atol=1e-7)
  with jax.enable_x64(True):
    exact = one(*map(jnp.asarray, arguments))
  assert exact.dtype == jnp.float64
  np.testing.assert_allclose(plain, exact, rtol=1e-4, atol=1e-6)
  half = one(*(jnp.asarray(v, jnp.bfloat16) for v in arguments))
  assert half.dtype == jnp.float32
  np.testing.assert_allclose(half, exact, rtol=0.2, atol=0.05)


@pytest.mark.training
@pytest.mark.parametrize("divergence", DISCRETE + CLASSES + CONTINUOUS)
def test_every_divergence_is_zero_only_where_nothing_differs(divergence):
  rng = np.random.default_rng(1)
  law = rng.normal(size=(2, 5)).astype("f")
  law[1] = np.exp(law[1])
  if divergence in CONTINUOUS:
    same = divergence(*law, *law)
    other = divergence(*law, law[0] + 0.5, law[1])
  else:
    p = jax.nn.log_softmax(law[0]) if divergence in CLASSES else law[0]
    q = jax.nn.log_softmax(law[1]) if divergence in CLASSES else law[1]
    same, other = divergence(p, p), divergence(p, q)
  np.testing.assert_allclose(same, 0.0, atol=1e-7)
  assert np.all(np.asarray(other) > 1e-3)
