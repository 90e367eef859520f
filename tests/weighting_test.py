import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from btw_jax import predictions
from btw_jax import weighting
from support import oracles

WEIGH = jax.jit(
  weighting.weigh,
  static_argnames=("variant", "kind", "agreement", "transform"),
)
MULTIPLIERS = jax.jit(weighting.multipliers)
# The shapes are few, because every new one compiles.
SHAPES = st.builds(
  lambda seed, shape: (seed, *shape),
  st.integers(0, 2**32 - 1),
  st.sampled_from([(1, 2), (3, 8), (5, 12)]),
)


def _case(seed, num_modalities, num_examples, num_classes=4):
  """Returns logits of both stages; each example has at least one modality."""
  rng = np.random.default_rng(seed)
  p = 2 * rng.normal(size=(num_modalities, num_examples, num_classes))
  q = 2 * rng.normal(size=(num_examples, num_classes))
  present = rng.random((num_examples, num_modalities)) < 0.7
  present[:, 0] |= ~present.any(1)
  return p, q, present


@pytest.mark.parametrize("variant", ["uniform", "kl", "mi", "kl+mi"])
@hypothesis.settings(max_examples=15)
@hypothesis.given(SHAPES)
def test_weights_match_the_loop(variant, shape):
  p, q, present = _case(*shape)
  actual = WEIGH(
    predictions.Categorical(p),
    predictions.Categorical(q),
    present=present,
    variant=variant,
  )
  expected = oracles.btw_weights(
    special.softmax(p, -1), special.softmax(q, -1), present, variant
  )
  np.testing.assert_allclose(actual, expected, atol=2e-4)


@pytest.mark.parametrize("variant", list(weighting.VARIANTS))
@hypothesis.settings(max_examples=10)
@hypothesis.given(SHAPES)
def test_rows_sum_to_one_over_the_present(variant, shape):
  p, q, present = _case(*shape)
  weights = WEIGH(
    predictions.Categorical(p),
    predictions.Categorical(q),
    present=present,
    variant=variant,
  )
  np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
  assert np.all(np.asarray(weights)[~present] == 0)
  assert np.all(np.asarray(weights)[present] > 0)


def test_the_order_of_modalities_does_not_matter():
  p, q, present = _case(0, 4, 30)
  order = [2, 0, 3, 1]
  weights = WEIGH(
    predictions.Categorical(p), predictions.Categorical(q), present=present
  )
  moved = WEIGH(
    predictions.Categorical(p[order]),
    predictions.Categorical(q),
    present=present[:, order],
  )
  np.testing.assert_allclose(moved, weights[:, order], rtol=1e-5)


def test_an_absent_modality_cannot_be_felt():
  p, q, present = _case(1, 3, 30)
  other = np.where(present.T[..., None], p, 99.0)
  weights = [
    WEIGH(
      predictions.Categorical(v), predictions.Categorical(q), present=present
    )
    for v in (p, other)
  ]
  np.testing.assert_array_equal(*weights)


@pytest.mark.training
def test_options_of_the_divergence():
  p, q, _ = _case(2, 2, 5)
  unimodal, multimodal = predictions.Categorical(p), predictions.Categorical(q)
  forward, backward = (
    weighting.divergence(unimodal, multimodal, kind=kind)
    for kind in ("kl", "reverse_kl")
  )
  probs = [special.softmax(v, -1) for v in (p, q)]
  np.testing.assert_allclose(
    backward[3, 1], oracles.categorical_kl(probs[1][3], probs[0][1, 3]), 1e-4
  )
  np.testing.assert_allclose(
    forward[3, 1], oracles.categorical_kl(probs[0][1, 3], probs[1][3]), 1e-4
  )
  agreeing = WEIGH(unimodal, multimodal, variant="kl", agreement=True)
  closeness = 1 / (np.asarray(forward) + weighting.FLOOR)
  np.testing.assert_allclose(
    agreeing, closeness / closeness.sum(1, keepdims=True), rtol=1e-4
  )
  turned = WEIGH(unimodal, multimodal, variant="kl", kind="reverse_kl")
  expected = np.asarray(backward) / np.sum(backward, 1, keepdims=True)
  np.testing.assert_allclose(turned, expected, rtol=1e-4)


@pytest.mark.training
def test_a_transform_reaches_the_information():
  rng = np.random.default_rng(0)
  means = np.exp(rng.normal(size=(3, 50)))
  q = predictions.Gaussian(means[2], np.ones(50))
  p = predictions.Gaussian(means[:2] + means[2], np.ones((2, 50)))
  weights = WEIGH(p, q, variant="mi", transform="rank")
  informed = jax.jit(
    functools.partial(predictions.information, transform="rank")
  )
  information = [
    informed(predictions.Gaussian(p.mean[m], p.std[m]), q) for m in range(2)
  ]
  expected = np.array(information) / np.sum(information)
  np.testing.assert_allclose(weights[0], expected, rtol=1e-4)
  plain = WEIGH(p, q, variant="mi")
  assert np.max(np.abs(plain - weights)) > 1e-3


def test_negative_information_counts_as_none():
  weights = weighting.modality_weights(jnp.array([-0.2, 0.5, 0.5]))
  np.testing.assert_allclose(weights, [1e-5, 0.5, 0.5], rtol=1e-4)


def test_known_information_replaces_the_estimate():
  p, q, _ = _case(3, 3, 6)
  weights = WEIGH(
    predictions.Categorical(p),
    predictions.Categorical(q),
    variant="mi",
    information=jnp.array([1.0, 2.0, 5.0]),
  )
  np.testing.assert_allclose(weights, np.tile([1, 2, 5], (6, 1)) / 8, rtol=1e-6)


def test_an_unknown_variant_is_named():
  p, q, _ = _case(0, 2, 3)
  with pytest.raises(ValueError, match=r"variant='lk'.*kl\+mi"):
    WEIGH(predictions.Categorical(p), predictions.Categorical(q), variant="lk")


@pytest.mark.parametrize(
  "num_modalities",
  [
    *range(1, 9),
    *(
      pytest.param(number, marks=pytest.mark.training)
      for number in (*range(9, 60), 97, 1000)
    ),
  ],
)
def test_uniform_multipliers_are_exactly_the_scale(num_modalities):
  present = np.ones((2, num_modalities), bool)
  present[1, 1:] = False
  weights = weighting.uniform(jnp.asarray(present))
  for strength in (0.0, 0.3, 1.0):
    multipliers = weighting.multipliers(weights, present, strength=strength)
    np.testing.assert_array_equal(multipliers, present.astype("f"))


@hypothesis.given(SHAPES, st.floats(0, 1), st.floats(0.1, 4))
def test_multipliers_keep_their_mean(shape, strength, scale):
  p, q, present = _case(*shape)
  weights = WEIGH(
    predictions.Categorical(p), predictions.Categorical(q), present=present
  )
  multipliers = np.asarray(
    MULTIPLIERS(weights, present, strength=strength, scale=scale)
  )
  np.testing.assert_allclose(
    multipliers.sum(1) / present.sum(1), scale, rtol=1e-4
  )
  assert np.all(multipliers[~present] == 0)
  count = present.sum(1, keepdims=True)
  even = present / count
  mixed = (1 - strength) * even + strength * np.asarray(weights)
  np.testing.assert_allclose(multipliers, scale * count * mixed, atol=1e-4)


def test_the_moving_average_by_hand():
  state = weighting.init(1, 2)
  np.testing.assert_array_equal(state.table, [[0.5, 0.5]])
  w = jnp.array([[0.9, 0.1]])
  # The first loss improves on nothing: α falls from .5 to .45 afterwards.
  state = weighting.update(state, w, 1.0)
  np.testing.assert_allclose(state.table, [[0.7, 0.3]], rtol=1e-6)
  np.testing.assert_allclose(state.alpha, 0.45, rtol=1e-6)
  # No improvement: α rises, having been used at .45.
  state = weighting.update(state, w, 1.0)
  np.testing.assert_allclose(
    state.table[0, 0], 0.45 * 0.9 + 0.55 * 0.7, rtol=1e-6
  )
  np.testing.assert_allclose(state.alpha, 0.5, rtol=1e-6)
  np.testing.assert_allclose(state.best_val_loss, 1.0)


def test_alpha_stays_within_its_bounds():
  up = down = weighting.init(1, 2)
  for i in range(30):
    up = weighting.update(up, up.table, 1.0 if i else -1.0)
    down = weighting.update(down, down.table, -float(i))
  assert up.alpha == 1.0
  assert down.alpha == 0.0


@pytest.mark.parametrize("num_modalities", [3, 7, 11, 13])
def test_uniform_weights_never_drift(num_modalities):
  start = state = weighting.init(4, num_modalities)
  losses = np.random.default_rng(0).normal(size=40)
  for loss in losses:
    state = weighting.update(state, start.table, loss)
    np.testing.assert_array_equal(state.table, start.table)


def test_the_prior_is_the_mean_row():
  table = jnp.array([[0.6, 0.4, 0.0], [0.2, 0.3, 0.5]])
  present = np.array([[1, 1, 0], [1, 1, 1]], bool)
  # Relative to uniform: .6·2, .4·2 and .2·3, .3·3, .5·3; means .9, .85, 1.5.
  expected = np.array([0.9, 0.85, 1.5]) / 3.25
  np.testing.assert_allclose(
    weighting.prior(table, present), expected, rtol=1e-6
  )
  even = weighting.prior(weighting.uniform(jnp.asarray(present)), present)
  np.testing.assert_allclose(even, np.full(3, 1 / 3), rtol=1e-6)
  # With a strength, the prior is that of the weights in use.
  used = 0.6 * weighting.uniform(jnp.asarray(present)) + 0.4 * table
  np.testing.assert_allclose(
    weighting.prior(table, present, strength=0.4),
    weighting.prior(used, present),
    rtol=1e-6,
  )
  spread = jax.vmap(
    lambda table, present: weighting.prior(table, present, axis_name="devices"),
    axis_name="devices",
  )(table[:, None], present[:, None])
  np.testing.assert_allclose(spread, np.stack([expected] * 2), rtol=1e-6)


def test_the_prior_of_min_max_weights_is_not_normalised():
  table = jnp.array([[0.3, 0.1, 0.0], [0.1, 0.0, 0.2]])
  present = np.array([[1, 1, 0], [1, 1, 1]], bool)
  # Relative to uniform: .3·2, .1·2 and .1·3, 0, .2·3; means .45, .1, .6.
  expected = np.array([0.45, 0.1, 0.6])
  prior = weighting.prior(table, present, sums_to_one=False)
  np.testing.assert_allclose(prior, expected / 3, rtol=1e-6)
  mixed = weighting.prior(table, present, strength=0.4, sums_to_one=False)
  np.testing.assert_allclose(mixed, (0.6 + 0.4 * expected) / 3, rtol=1e-6)
  # An example with two modalities gets the same factors as one with three.
  start = weighting.unseen(None, prior, 0.5, present, num_refinements=0,
    sums_to_one=False)  # fmt: skip
  np.testing.assert_allclose(
    weighting.multipliers(start, present), present * expected, rtol=1e-6
  )


def test_unseen_examples_mix_prior_and_own_weights():
  expected = jnp.array([0.5, 0.3, 0.2])
  present = np.array([[1, 1, 1], [1, 0, 1]], bool)
  new_weights = jnp.array([[0.2, 0.2, 0.6], [0.1, 0.0, 0.9]])
  seen = []

  def reweigh(weights):
    seen.append(weights)
    return new_weights

  weights = weighting.unseen(reweigh, expected, 0.25, present)
  start = np.array([[0.5, 0.3, 0.2], [5 / 7, 0, 2 / 7]])
  np.testing.assert_allclose(seen[0], start, rtol=1e-6)
  np.testing.assert_allclose(
    weights, 0.25 * new_weights + 0.75 * start, rtol=1e-6
  )
  for num in (0, 3):
    seen.clear()
    weighting.unseen(reweigh, expected, 0.25, present, num_refinements=num)
    assert len(seen) == num


def test_an_example_with_nothing_present_weighs_nothing():
  present = np.zeros((1, 3), bool)
  weights = weighting.instance_weights(jnp.ones((1, 3)), present)
  np.testing.assert_array_equal(weights, 0)
  multipliers = weighting.multipliers(weights, present)
  np.testing.assert_array_equal(multipliers, 0)


@pytest.mark.training
def test_weighing_compiles_once_per_shape_and_differentiates():
  p, q, present = _case(4, 3, 8)
  traces = []

  @jax.jit
  def total(p, q):
    traces.append(None)
    weights = weighting.weigh(
      predictions.Categorical(p), predictions.Categorical(q), present=present
    )
    return jnp.sum(weights[:, 0])

  total(p, q)
  total(p + 1, q)
  assert len(traces) == 1
  for gradient in jax.grad(total, (0, 1))(1e3 * p, q):
    assert np.all(np.isfinite(gradient))
