import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from btw_jax import minmax
from btw_jax import predictions
from btw_jax import weighting
from btw_jax.training import weighting_rule
from support import oracles

VARIANTS = ("uniform", "kl", "mi", "cc", "kl+mi", "kl+cc")
RULE = weighting_rule.Rule(variants=VARIANTS)
MINMAX = dataclasses.replace(RULE, normalise="minmax")


def _logits(seed=0, num_examples=12):
  """Returns logits of both stages, and presence."""
  rng = np.random.default_rng(seed)
  p, q = (
    2 * rng.normal(size=shape).astype("f")
    for shape in ((3, num_examples, 4), (num_examples, 4))
  )
  present = rng.random((num_examples, 3)) < 0.7
  present[:, 0] |= ~present.any(1)
  return p, q, present


@jax.jit
def _statistics(p, q, present):
  return MINMAX.information(p, q, present) | MINMAX.divergence_range(
    p, q, present
  )


def _weights(rule, p, q, present, information):
  """Returns variant -> weights."""
  weigh = jax.jit(rule.weigh)
  return {
    variant: weigh(p, q, present, information, i)
    for i, variant in enumerate(rule.variants)
  }


def test_min_max_weights_match_the_loop():
  logits = _logits()
  p, q, present = *map(predictions.Categorical, logits[:2]), logits[2]
  information = _statistics(p, q, present)
  weights = _weights(MINMAX, p, q, present, information)
  probs = [special.softmax(x, -1) for x in logits[:2]]
  for variant in ("kl", "kl+mi"):
    expected = oracles.minmax_factors(*probs, present, variant)
    assert expected.max(0).min() > 0.05
    np.testing.assert_allclose(
      weighting.multipliers(weights[variant], present), expected, atol=2e-4
    )
  correlation = weighting.modality_weights(information["cc"])
  expected = 3 * oracles.minmax_factors(*probs, present, "kl") * correlation
  np.testing.assert_allclose(
    weighting.multipliers(weights["kl+cc"], present), expected, atol=2e-4
  )
  # Those without divergence are the usual ones, in the same run.
  rows = _weights(RULE, p, q, present, information)
  for variant in ("uniform", "mi", "cc"):
    np.testing.assert_array_equal(weights[variant], rows[variant])
  sums = [bool(MINMAX.sums_to_one(i)) for i in range(len(VARIANTS))]
  assert sums == [True, False, True, True, False, False]


def test_the_range_of_training_serves_unseen_examples():
  logits = _logits(num_examples=40)
  p, q, present = *map(predictions.Categorical, logits[:2]), logits[2]
  seen, unseen = (
    (p._replace(logits=p.logits[:, s]), q._replace(logits=q.logits[s]))
    for s in (slice(8), slice(8, None))
  )
  information = _statistics(*seen, present[:8])
  weights = _weights(MINMAX, *unseen, present[8:], information)
  factors = weighting.multipliers(weights["kl"], present[8:])
  low, high = (information[k] for k in ("min_divergence", "max_divergence"))
  divergence = np.asarray(weighting.divergence(*unseen))
  place = (divergence - low) / (high - low)
  assert np.any(place[present[8:]] > 1) and np.any(place[present[8:]] < 0)
  expected = np.where(present[8:], np.clip(place, 0, 1) / 3, 0)
  np.testing.assert_allclose(factors, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [predictions.Gaussian, predictions.Laplace])
def test_the_std_of_unimodal_regressions_is_fixed(kind):
  rng = np.random.default_rng(0)
  means, spreads = rng.normal(size=(2, 9)), np.exp(rng.normal(size=(2, 9)))
  q = kind(rng.normal(size=9), np.exp(rng.normal(size=9)))
  present = np.ones((9, 2), bool)
  ranges, weights = [], []
  for spread in (spreads, 3 * spreads):
    p = kind(means, spread)
    ranges.append(MINMAX.divergence_range(p, q, present))
    information = MINMAX.information(p, q, present) | ranges[-1]
    weights.append(_weights(MINMAX, p, q, present, information)["kl+mi"])
  np.testing.assert_array_equal(*weights)
  distance = np.abs(means - q[0])
  expected = np.log(q[1] / 0.1) + (0.1**2 + distance**2) / (2 * q[1] ** 2) - 0.5
  if kind is predictions.Laplace:
    scale = 0.1 / np.sqrt(2)
    excess = scale * np.exp(-distance / scale) + distance
    expected = np.log(q[1] / scale) + excess / q[1] - 1
  for actual, closed in zip(
    ranges[0].values(), (expected.min(1), expected.max(1)), strict=True
  ):
    np.testing.assert_allclose(actual, closed, rtol=1e-4)
  # Without the option, the predicted standard deviation counts.
  rows = [
    RULE.weigh(kind(means, s), q, present, {}, 1)
    for s in (spreads, 3 * spreads)
  ]
  assert np.max(np.abs(rows[0] - rows[1])) > 1e-3


def test_agreement_is_scaled_too():
  logits = _logits(1)
  p, q, present = *map(predictions.Categorical, logits[:2]), logits[2]
  rule = weighting_rule.Rule(
    variants=("kl",), agreement=True, normalise="minmax"
  )
  information = rule.divergence_range(p, q, present)
  closeness = 1 / (weighting.divergence(p, q) + weighting.FLOOR)
  for actual, reduce in zip(
    information.values(), (jnp.min, jnp.max), strict=True
  ):
    expected = [reduce(closeness[present[:, m], m]) for m in range(3)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
  weights = rule.weigh(p, q, present, information, 0)
  instance = minmax.instance_weights(closeness, *information.values())
  expected = minmax.combine(instance, jnp.full(3, 1 / 3), present)
  np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_only_min_max_weights_need_a_range():
  assert RULE.statistics == RULE.measures == ("cc", "mi")
  ranges = ("min_divergence", "max_divergence")
  assert MINMAX.statistics == ("cc", "mi", *ranges)
  without = dataclasses.replace(MINMAX, variants=("uniform", "mi"))
  assert without.statistics == ("mi",)
  assert without.divergence_range(None, None, None) == {}
