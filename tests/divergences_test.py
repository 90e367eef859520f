import itertools

import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import integrate
from scipy import special
from scipy import stats

from btw_jax import divergences

LOGITS = st.floats(-30, 30, width=32)


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

  # Split at the kinks of the Laplace density.
  kinks = sorted((p.mean(), q.mean()))
  edges = [kinks[0] - 99, kinks[0] - 1, *kinks, kinks[1] + 1, kinks[1] + 99]
  expected = sum(
    integrate.quad(integrand, a, b)[0] for a, b in itertools.pairwise(edges)
  )
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


EXTREMES = np.array([-np.inf, -1e4, -50.0, 0.0, 50.0, 1e4, np.inf])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extreme_logits_and_probabilities_stay_finite(dtype):
  p, q = (v.ravel() for v in np.meshgrid(EXTREMES, EXTREMES))
  p, q = jnp.asarray(p, dtype), jnp.asarray(q, dtype)

  def total(p, q):
    return jnp.sum(divergences.bernoulli_kl(p, q))

  for value in (total(p, q), *jax.grad(total, (0, 1))(p, q)):
    assert np.all(np.isfinite(np.asarray(value, np.float32)))
  # Certain and right: 0; certain and wrong: finite but large.
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
