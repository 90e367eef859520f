"""Shapley values equal the mean over all orders, by a loop."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from btw_jax import shapley


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
  plan = shapley.plan(num_modalities)
  assert not plan.kept[0].any() and plan.kept[-1].all()
  values = np.random.default_rng(seed).normal(size=len(plan.kept))
  by_set = {
    frozenset(np.flatnonzero(kept)): v
    for kept, v in zip(plan.kept, values, strict=True)
  }
  shares = shapley.values(plan, values)
  np.testing.assert_allclose(
    shares, _by_orders(num_modalities, by_set.get), atol=1e-5
  )
  assert np.sum(shares) == pytest.approx(values[-1] - values[0], abs=1e-5)


@pytest.mark.parametrize("num_modalities", [3, 10])
def test_an_additive_value_is_divided_into_its_terms(num_modalities):
  """Ten modalities are more than `MAX_EXACT`: their orders are sampled."""
  terms = np.random.default_rng(0).normal(size=num_modalities)
  plan = shapley.plan(num_modalities, num_permutations=4)
  values = plan.kept @ terms
  np.testing.assert_allclose(shapley.values(plan, values), terms, atol=1e-5)


def test_exclusive_or_is_shared_and_a_copy_takes_half():
  plan = shapley.plan(3)
  xor = _values(plan, lambda kept: np.log(2) * ({0, 1} <= kept))
  np.testing.assert_allclose(
    shapley.values(plan, xor),
    [np.log(2) / 2, np.log(2) / 2, 0],
    atol=1e-6,
  )
  copied = _values(plan, lambda kept: 1.0 * bool(kept & {0, 1}))
  np.testing.assert_allclose(
    shapley.values(plan, copied), [0.5, 0.5, 0.0], atol=1e-6
  )


def test_sampled_orders_approach_the_mean_over_all():
  number = 9
  rng = np.random.default_rng(0)
  pairs = np.triu(rng.normal(size=(number, number)), 1)
  plan = shapley.plan(number, num_permutations=300)
  kept = plan.kept.astype(float)
  values = np.einsum("ci,ij,cj->c", kept, pairs, kept)
  # A pair's value is shared by the two.
  expected = (pairs.sum(0) + pairs.sum(1)) / 2
  # Forwards and backwards, a pair gives each of the two exactly half.
  np.testing.assert_allclose(shapley.values(plan, values), expected, atol=1e-4)
  triple = kept[:, 0] * kept[:, 1] * kept[:, 2]
  shared = shapley.values(plan, triple)
  # Each of the three comes last in a third of the orders.
  error = (1 / 3 * 2 / 3 / 300) ** 0.5
  np.testing.assert_allclose(shared[:3], 1 / 3, atol=4 * error)
  assert np.sum(shared) == pytest.approx(1.0, abs=1e-5)
