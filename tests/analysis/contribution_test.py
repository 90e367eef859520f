import itertools

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import tasks
from btw_jax.analysis import contribution


def _by_orders(num_modalities, value):
  """Averages the gain of each modality over all orders, by a loop."""
  total = np.zeros(num_modalities)
  orders = list(itertools.permutations(range(num_modalities)))
  for order in orders:
    for size, m in enumerate(order):
      before, after = order[:size], order[: size + 1]
      total[m] += value(frozenset(after)) - value(frozenset(before))
  return total / len(orders)


def _values(plan, value):
  return np.array([value(frozenset(np.flatnonzero(k))) for k in plan.kept])


@hypothesis.given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_all_subsets_give_the_mean_over_orders(num_modalities, seed):
  plan = contribution.plan(num_modalities)
  assert not plan.kept[0].any() and plan.kept[-1].all()
  values = np.random.default_rng(seed).normal(size=len(plan.kept))
  by_set = {
    frozenset(np.flatnonzero(kept)): v
    for kept, v in zip(plan.kept, values, strict=True)
  }
  shapley = contribution.shapley(plan, values)
  np.testing.assert_allclose(
    shapley, _by_orders(num_modalities, by_set.get), atol=1e-5
  )
  assert np.sum(shapley) == pytest.approx(values[-1] - values[0], abs=1e-5)


@pytest.mark.parametrize("num_modalities", [3, 10])
def test_an_additive_value_is_divided_into_its_terms(num_modalities):
  """Ten modalities are more than `MAX_EXACT`: their orders are sampled."""
  terms = np.random.default_rng(0).normal(size=num_modalities)
  plan = contribution.plan(num_modalities, num_permutations=4)
  values = plan.kept @ terms
  np.testing.assert_allclose(
    contribution.shapley(plan, values), terms, atol=1e-5
  )


def test_exclusive_or_is_shared_and_a_copy_takes_half():
  plan = contribution.plan(3)
  xor = _values(plan, lambda kept: np.log(2) * ({0, 1} <= kept))
  np.testing.assert_allclose(
    contribution.shapley(plan, xor),
    [np.log(2) / 2, np.log(2) / 2, 0],
    atol=1e-6,
  )
  copied = _values(plan, lambda kept: 1.0 * bool(kept & {0, 1}))
  np.testing.assert_allclose(
    contribution.shapley(plan, copied), [0.5, 0.5, 0.0], atol=1e-6
  )


def test_sampled_orders_approach_the_mean_over_all():
  number = 9
  rng = np.random.default_rng(0)
  pairs = np.triu(rng.normal(size=(number, number)), 1)
  plan = contribution.plan(number, num_permutations=300)
  kept = plan.kept.astype(float)
  values = np.einsum("ci,ij,cj->c", kept, pairs, kept)
  # A pair's value is shared by the two.
  expected = (pairs.sum(0) + pairs.sum(1)) / 2
  # Forwards and backwards, a pair gives each of the two exactly half.
  np.testing.assert_allclose(
    contribution.shapley(plan, values), expected, atol=1e-4
  )
  triple = kept[:, 0] * kept[:, 1] * kept[:, 2]
  shared = contribution.shapley(plan, triple)
  # Each of the three comes last in a third of the orders.
  error = (1 / 3 * 2 / 3 / 300) ** 0.5
  np.testing.assert_allclose(shared[:3], 1 / 3, atol=4 * error)
  assert np.sum(shared) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_mean_of_equal_predictions_is_that_prediction(name):
  task, rng = tasks.make(name, 3), np.random.default_rng(0)
  outputs = rng.normal(size=(8, task.num_outputs)).astype("f")
  target = {
    "regression": rng.normal(size=8),
    "binary": rng.integers(0, 2, 8),
    "multiclass": rng.integers(0, 3, 8),
    "multilabel": rng.integers(0, 2, (8, 3)),
  }[name]
  one = contribution.quality(task, outputs, target)
  mean = contribution.mean_quality(task, jnp.stack([outputs] * 5), target)
  for a, b in zip(mean, one, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  assert one.score.shape == (8,)
  if name == "regression":
    errors = np.abs(outputs[:, 0] - target)
    np.testing.assert_allclose(one.score, -errors, rtol=1e-5)


def test_probabilities_are_averaged_not_logits():
  task = tasks.make("multiclass", 2)
  outputs = jnp.array([[[9.0, 0.0]], [[0.0, 2.0]]])
  mean = contribution.mean_quality(task, outputs, jnp.array([1]))
  probs = special.softmax(np.asarray(outputs), axis=-1)[:, 0]
  assert mean.likelihood[0] == pytest.approx(np.log(probs[:, 1].mean()))
  # The mean probability of class 0 is above one half.
  assert mean.score[0] == 0 and probs[:, 0].mean() > 0.5
  binary = tasks.make("binary", 2)
  logits = jnp.array([[[9.0]], [[-2.0]]])
  mean = contribution.mean_quality(binary, logits, jnp.array([1]))
  expected = special.expit(np.array([9.0, -2.0])).mean()
  assert mean.likelihood[0] == pytest.approx(np.log(expected), rel=1e-5)
  assert mean.score[0] == float(expected > 0.5)


def test_knowing_nothing_predicts_the_frequencies():
  target = np.array([0, 0, 0, 2])
  quality = contribution.constant_quality(tasks.make("multiclass", 3), target)
  # Class 1 does not occur, and counts as half an example.
  expected = np.log(np.array([3, 3, 3, 1]) / 4.5)
  np.testing.assert_allclose(quality.likelihood, expected, rtol=1e-5)
  np.testing.assert_array_equal(quality.score, [1, 1, 1, 0])
  binary = contribution.constant_quality(
    tasks.make("binary", 2), np.array([1, 1, 1, 0])
  )
  np.testing.assert_allclose(
    binary.likelihood, np.log([0.75, 0.75, 0.75, 0.25]), rtol=1e-5
  )
  values = np.random.default_rng(0).normal(2.0, 3.0, size=50)
  regression = contribution.constant_quality(
    tasks.make("regression", 1), values
  )
  np.testing.assert_allclose(
    regression.likelihood,
    stats.norm.logpdf(values, values.mean(), values.std()),
    rtol=1e-4,
  )
  np.testing.assert_allclose(
    regression.score, -np.abs(values - np.median(values)), rtol=1e-4
  )


def test_modalities_that_are_not_kept_come_from_one_donor():
  rows = contribution.rows_of_set([True, False, False], jnp.array([2, 0, 1]))
  np.testing.assert_array_equal(rows, [[0, 2, 2], [1, 0, 0], [2, 1, 1]])
