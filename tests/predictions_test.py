import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import chunked
from btw_jax import divergences
from btw_jax import predictions
from btw_jax.mutual_information import knn
from support import oracles

INFORMATION = jax.jit(predictions.information, static_argnames="transform")


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


def test_a_fixed_std_gives_the_closed_form():
  p_mean, q_mean = _logits(0, 6), _logits(1, 6)
  q_std, other = np.exp(_logits(2, 6)), np.exp(_logits(3, 6))
  p = predictions.with_std(predictions.Gaussian(p_mean, other), 0.1)
  q = predictions.Gaussian(q_mean, q_std)
  expected = np.log(q_std / 0.1) - 0.5
  expected += (0.1**2 + (p_mean - q_mean) ** 2) / (2 * q_std**2)
  np.testing.assert_allclose(predictions.divergence(p, q), expected, rtol=1e-5)
  p = predictions.with_std(predictions.Laplace(p_mean, other), 0.1)
  np.testing.assert_array_equal(p.loc, p_mean)
  np.testing.assert_allclose(stats.laplace.std(scale=p.scale), 0.1, rtol=1e-6)
  classes = predictions.Categorical(_logits(4, 6, 3))
  assert predictions.with_std(classes, 0.1) is classes


OF_KIND = {
  predictions.Categorical: (
    divergences.categorical_kl,
    divergences.categorical_js,
  ),
  predictions.Bernoulli: (
    divergences.bernoulli_kl,
    divergences.bernoulli_js,
  ),
  predictions.Gaussian: (
    divergences.gaussian_kl,
    divergences.gaussian_js,
  ),
  predictions.Laplace: (
    divergences.laplace_kl,
    divergences.laplace_js,
  ),
}


@pytest.mark.parametrize("of", OF_KIND)
def test_each_divergence_of_each_kind(of):
  a, b = _logits(0, 6, 4), _logits(1, 6, 4)
  arguments, sums = [a, b], lambda x: x
  if of is predictions.Categorical:
    arguments = [jax.nn.log_softmax(v) for v in arguments]
  elif of is predictions.Bernoulli:
    sums = lambda x: x.sum(-1)  # noqa: E731
  else:
    arguments = [a[:, 0], np.exp(a[:, 1]), b[:, 0], np.exp(b[:, 1])]
  half = len(arguments) // 2
  p, q = (
    (of(*v) for v in ([a], [b]))
    if half == 1
    else (of(*arguments[:half]), of(*arguments[half:]))
  )
  kl, js = OF_KIND[of]
  turned = arguments[half:] + arguments[:half]
  for kind, expected in (
    ("kl", kl(*arguments)),
    ("reverse_kl", kl(*turned)),
    ("jeffreys", kl(*arguments) + kl(*turned)),
    ("js", js(*arguments)),
  ):
    np.testing.assert_allclose(
      predictions.divergence(p, q, kind=kind), sums(expected), rtol=1e-6
    )


@pytest.mark.training
def test_transforms_come_before_the_neighbours():
  a = np.exp(3 * _logits(0, 60))
  b = a * np.exp(_logits(1, 60))
  spread = np.ones(60)
  p, q = (predictions.Gaussian(v, spread) for v in (a, b))
  estimates = {
    name: INFORMATION(p, q, transform=name)
    for name in ("none", "standardise", "rank")
  }
  assert len({float(v) for v in estimates.values()}) == 3
  scores = [stats.norm.ppf((stats.rankdata(v) - 0.5) / 60) for v in (a, b)]
  np.testing.assert_allclose(estimates["rank"], oracles.ksg(*scores), atol=1e-5)


def test_names_must_be_known():
  p = predictions.Gaussian(jnp.zeros(9), jnp.ones(9))
  with pytest.raises(ValueError, match="divergence 'lk' is unknown: use.* kl"):
    predictions.divergence(p, p, kind="lk")
  with pytest.raises(ValueError, match="transform 'log' is unknown: use.*rank"):
    predictions.information(p, p, transform="log")


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


@pytest.mark.training
def test_information_of_each_kind():
  a, b = _logits(0, 40, 3), _logits(1, 40, 3)
  b = a + 0.5 * b
  where = np.arange(40) % 3 > 0
  soft = [special.softmax(v[where], -1) for v in (a, b)]
  np.testing.assert_allclose(
    INFORMATION(
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
    INFORMATION(predictions.Bernoulli(a), predictions.Bernoulli(b)),
    sum(per_label),
    atol=1e-6,
  )
  for kind in (predictions.Gaussian, predictions.Laplace):
    spread = np.ones(40)
    value = INFORMATION(kind(a[:, 0], spread), kind(b[:, 0], spread))
    np.testing.assert_array_equal(value, jax.jit(knn.ksg)(a[:, 0], b[:, 0]))


@pytest.mark.training
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


def _pairs(num_examples):
  """Makes two predictions of each kind, and a mask of their examples."""
  rng = np.random.default_rng(0)
  first = rng.normal(size=(num_examples, 3)).astype(np.float32)
  second = first + rng.normal(size=first.shape).astype(np.float32)
  where = rng.random(num_examples) < 0.8
  kinds = {
    "categorical": predictions.Categorical,
    "bernoulli": predictions.Bernoulli,
    "gaussian": lambda x: predictions.Gaussian(x[:, 0], np.exp(x[:, 1])),
    "laplace": lambda x: predictions.Laplace(x[:, 0], np.exp(x[:, 1])),
  }
  return {
    name: (kind(first), kind(second), where) for name, kind in kinds.items()
  }


@pytest.mark.training
@pytest.mark.parametrize("kind", ["categorical", "bernoulli"])
@pytest.mark.parametrize("chunk_size", [1, 7, 20])
def test_information_does_not_depend_on_chunks(monkeypatch, kind, chunk_size):
  p, q, where = _pairs(40)[kind]

  @jax.jit
  def measure(p):
    masked, gradient = jax.value_and_grad(
      lambda p: predictions.information(p, q, where=where)
    )(p)
    return masked, predictions.information(p, q), gradient.logits

  *values, gradient = measure(p)
  measure.clear_cache()
  monkeypatch.setattr(chunked, "CHUNK_SIZE", chunk_size)
  *chunked_values, chunked_gradient = measure(p)
  np.testing.assert_allclose(chunked_values, values, rtol=1e-5)
  np.testing.assert_allclose(chunked_gradient, gradient, atol=1e-6)


@pytest.mark.training
@pytest.mark.parametrize("kind", ["categorical", "bernoulli", "gaussian"])
@pytest.mark.parametrize(
  "measure", [predictions.information, predictions.correlation]
)
def test_examples_may_be_spread_over_devices(kind, measure):
  p, q, where = _pairs(48)[kind]
  one = jax.jit(measure)
  full = one(p, q, where=where)
  shares = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), (p, q, where))
  several = jax.vmap(
    lambda p, q, where: measure(p, q, where=where, axis_name="devices"),
    axis_name="devices",
  )
  spread = jax.jit(several)(*shares)
  np.testing.assert_allclose(spread, np.repeat(full, 4), rtol=1e-5)
  # A device that saw only its own shard would give another value.
  alone = one(*(jax.tree.map(lambda x: x[0], part) for part in shares[:2]))
  assert abs(alone - full) > 0.01 * abs(full)


def _normalised(log_density, *args):
  """Returns a density on a grid from its log, up to a constant."""
  grid = np.linspace(-20, 20, 40_001)
  density = np.exp(log_density(grid, *args))
  return grid, density / (density.sum() * (grid[1] - grid[0]))


def test_a_pool_is_the_geometric_mean_of_the_models_that_count():
  where = np.array([[True, True, True], [True, False, True]])
  logits = _logits(0, 3, 2, 4)
  probs = special.softmax(logits, axis=-1)
  pooled = predictions.pool(predictions.Categorical(logits), where)
  for n in range(2):
    product = stats.gmean(probs[where[n], n], axis=0)
    np.testing.assert_allclose(
      special.softmax(pooled.logits[n]), product / product.sum(), rtol=1e-5
    )
  pooled = predictions.pool(predictions.Bernoulli(logits), where)
  for n in range(2):
    yes, no = (
      stats.gmean(special.expit(sign * logits[where[n], n]), axis=0)
      for sign in (1, -1)
    )
    np.testing.assert_allclose(
      special.expit(pooled.logits[n]), yes / (yes + no), rtol=1e-5
    )


def test_the_pool_of_normal_distributions_is_normal():
  mean, std = _logits(0, 3, 2), np.exp(0.3 * _logits(1, 3, 2))
  where = np.array([[True, True, True], [True, False, True]])
  pooled = predictions.pool(predictions.Gaussian(mean, std), where)
  for n in range(2):
    chosen = mean[where[n], n], std[where[n], n]
    grid, density = _normalised(
      lambda x, m=chosen[0], s=chosen[1]: stats.norm.logpdf(
        x[:, None], m, s
      ).mean(axis=1)
    )
    expected = stats.norm.pdf(grid, pooled.mean[n], pooled.std[n])
    np.testing.assert_allclose(density, expected, atol=1e-4)


def test_the_pool_of_one_model_is_that_model():
  where = np.ones((2, 1), bool)
  for kind in (predictions.Gaussian, predictions.Laplace):
    one = kind(_logits(0, 1, 2), np.exp(_logits(1, 1, 2)))
    for a, b in zip(predictions.pool(one, where), one, strict=True):
      np.testing.assert_allclose(a, b[0], rtol=1e-5)


def test_without_any_model_that_counts_all_do():
  logits = _logits(0, 3, 1, 4)
  none, every = (
    predictions.pool(predictions.Categorical(logits), np.full((1, 3), value))
    for value in (False, True)
  )
  np.testing.assert_array_equal(none.logits, every.logits)
