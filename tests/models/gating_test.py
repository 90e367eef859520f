import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models import gating
from support import oracles

KINDS = tuple(gating.GATINGS)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gates_equal_a_loop(kind):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, 4, 6)).astype("f")
  vectors = rng.normal(size=(5, 6)).astype("f")
  scores = gating.GATINGS[kind](x, vectors)
  experts, gates = gating.select(scores, 2)
  for i in np.ndindex(3, 4):
    expected = [oracles.score(kind, x[i], vector) for vector in vectors]
    np.testing.assert_allclose(scores[i], expected, atol=1e-5)
    order, shares = oracles.gates(expected, 2)
    np.testing.assert_array_equal(experts[i], order)
    np.testing.assert_allclose(gates[i], shares, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_where_token_and_centre_coincide(kind):
  x = jnp.ones((2, 3))
  centres = jnp.stack([jnp.ones(3), jnp.zeros(3)])

  def total(x, centres):
    return jnp.sum(gating.GATINGS[kind](x, centres) ** 2)

  for gradient in jax.grad(total, argnums=(0, 1))(x, centres):
    assert np.all(np.isfinite(gradient))


@hypothesis.given(
  hnp.arrays(np.float32, (4, 6), elements=st.integers(-3, 3)),
  st.integers(1, 6),
)
def test_top_k_is_that_of_lax_ties_included(scores, k):
  actual = gating.top_k(scores, k)
  for a, b in zip(actual, jax.lax.top_k(scores, k), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_gradient_of_top_k_reaches_the_chosen():
  scores = jnp.asarray([0.1, 3.0, 2.0, -1.0])
  gradient = jax.grad(lambda s: jnp.vdot(gating.top_k(s, 2)[0], jnp.ones(2)))
  np.testing.assert_array_equal(gradient(scores), [0, 1, 1, 0])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_smooth_load_equals_a_loop(k):
  rng = np.random.default_rng(1)
  scores, noise = rng.normal(size=(2, 7, 4)).astype("f")
  std = rng.uniform(0.5, 2.0, (7, 4)).astype("f")
  noisy = scores + noise
  load = gating.smooth_load(scores, noisy, std, k)
  for i in range(7):
    expected = oracles.smooth_load(scores[i], noisy[i], std[i], k)
    np.testing.assert_allclose(load[i], expected, atol=1e-6)


def test_smooth_load_is_how_often_noise_would_choose():
  """The noise of one expert is drawn repeatedly; the other noise is fixed."""
  rng = np.random.default_rng(2)
  scores, std = np.array([0.5, 0.0, -0.4]), np.array([0.8, 1.0, 1.5])
  noisy = scores + std * rng.normal(size=3)
  load = gating.smooth_load(*(v.astype("f") for v in (scores, noisy, std)), 1)
  for e in range(3):
    again = scores[e] + std[e] * rng.normal(size=40_000)
    others = max(noisy[i] for i in range(3) if i != e)
    # Four standard errors of a share of 40,000 draws.
    np.testing.assert_allclose(np.mean(again > others), load[e], atol=0.01)


def test_squared_variation_equals_numpy_among_what_counts():
  rng = np.random.default_rng(3)
  x = rng.random((5, 6)).astype("f")
  where = rng.random((5, 6)) < 0.7
  variation = gating.squared_variation(x, where)
  for i in range(5):
    np.testing.assert_allclose(
      variation[i], oracles.variation(x[i][where[i]]), rtol=1e-5
    )
  np.testing.assert_array_equal(
    gating.squared_variation(jnp.zeros(3), jnp.ones(3, bool)), 0.0
  )
  gradient = jax.grad(lambda x: gating.squared_variation(x, x >= 0))
  assert np.all(np.isfinite(gradient(jnp.zeros(3))))
