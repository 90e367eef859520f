import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import special

from btw_jax import divergences
from btw_jax import predictions
from btw_jax.mutual_information import knn


def _logits(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype("f")


def test_divergence_of_each_kind():
  a, b = _logits(0, 6, 4), _logits(1, 6, 4)
  expected = [
    oracles.categorical_kl(special.softmax(p), special.softmax(q))
    for p, q in zip(a, b, strict=True)
  ]
  np.testing.assert_allclose(
    predictions.divergence(
      predictions.Categorical(a), predictions.Categorical(b)
    ),
    expected,
    rtol=1e-4,
  )
  np.testing.assert_allclose(
    predictions.divergence(predictions.Bernoulli(a), predictions.Bernoulli(b)),
    divergences.bernoulli_kl(a, b).sum(-1),
    rtol=1e-6,
  )
  p, q = (a[:, 0], np.exp(a[:, 1])), (b[:, 0], np.exp(b[:, 1]))
  for kind, kl in (
    (predictions.Gaussian, divergences.gaussian_kl),
    (predictions.Laplace, divergences.laplace_kl),
  ):
    value = predictions.divergence(kind(*p), kind(*q))
    np.testing.assert_array_equal(value, kl(*p, *q))


def test_categorical_ignores_a_constant_added_to_the_logits():
  a, b = _logits(0, 6, 4), _logits(1, 6, 4)
  np.testing.assert_allclose(
    predictions.divergence(
      predictions.Categorical(a + 5), predictions.Categorical(b)
    ),
    predictions.divergence(
      predictions.Categorical(a), predictions.Categorical(b)
    ),
    rtol=1e-4,
  )


def test_information_of_each_kind():
  a, b = _logits(0, 40, 3), _logits(1, 40, 3)
  b = a + 0.5 * b
  where = np.arange(40) % 3 > 0
  soft = [special.softmax(v[where], -1) for v in (a, b)]
  np.testing.assert_allclose(
    predictions.information(
      predictions.Categorical(a), predictions.Categorical(b), where=where
    ),
    oracles.soft_information(*soft),
    atol=1e-6,
  )
  per_label = [
    oracles.soft_information(
      *(np.stack([1 - p, p], -1) for p in special.expit([a[:, c], b[:, c]]))
    )
    for c in range(3)
  ]
  np.testing.assert_allclose(
    predictions.information(predictions.Bernoulli(a), predictions.Bernoulli(b)),
    sum(per_label),
    atol=1e-6,
  )
  for kind in (predictions.Gaussian, predictions.Laplace):
    spread = np.ones(40)
    value = predictions.information(
      kind(a[:, 0], spread), kind(b[:, 0], spread)
    )
    np.testing.assert_array_equal(value, knn.ksg(a[:, 0], b[:, 0]))


def test_correlation_is_of_point_predictions():
  a, b = _logits(0, 40), _logits(1, 40)
  b = a + b
  spread = np.ones(40)
  expected = np.corrcoef(a, b)[0, 1]
  for kind in (predictions.Gaussian, predictions.Laplace):
    value = predictions.correlation(kind(a, spread), kind(b, spread))
    np.testing.assert_allclose(value, expected, atol=1e-5)
  yes = special.expit([a, b])
  value = predictions.correlation(
    predictions.Bernoulli(a[:, None]), predictions.Bernoulli(b[:, None])
  )
  np.testing.assert_allclose(value, np.corrcoef(yes)[0, 1], atol=1e-5)
  two = predictions.correlation(
    predictions.Categorical(np.stack([0 * a, a], -1)),
    predictions.Categorical(np.stack([0 * b, b], -1)),
  )
  np.testing.assert_allclose(two, value, atol=1e-5)


def test_predictions_map_like_arrays():
  p = predictions.Categorical(_logits(0, 3, 10, 4))
  q = predictions.Categorical(_logits(1, 10, 4))
  together = jax.jit(jax.vmap(predictions.divergence, (0, None)))(p, q)
  for m in range(3):
    one = jax.tree.map(lambda x, m=m: x[m], p)
    np.testing.assert_allclose(
      together[m], predictions.divergence(one, q), rtol=1e-5
    )


def test_kinds_must_agree():
  p = predictions.Categorical(jnp.zeros((2, 2)))
  q = predictions.Bernoulli(jnp.zeros((2, 2)))
  with pytest.raises(ValueError, match="got Categorical and Bernoulli"):
    predictions.divergence(p, q)
