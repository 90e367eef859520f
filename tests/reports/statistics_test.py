"""The statistics equal enumeration, closed forms and loops."""

import itertools

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from btw_jax.reports import statistics

_VALUES = st.lists(
  st.integers(-30, 30).map(lambda v: v / 4), min_size=2, max_size=8
)


@hypothesis.given(_VALUES)
def test_all_signs_are_tried(differences):
  means = [
    abs(np.mean(np.multiply(signs, differences)))
    for signs in itertools.product((-1, 1), repeat=len(differences))
  ]
  expected = np.mean(np.array(means) >= abs(np.mean(differences)) - 1e-12)
  p_value = statistics.paired_p_value(differences)
  assert p_value == pytest.approx(expected if any(differences) else 1.0)
  assert p_value >= statistics.least_p_value(len(differences)) - 1e-12


def test_the_least_p_value_is_that_of_equal_signs():
  for number in (2, 5, 10):
    p_value = statistics.paired_p_value(np.arange(1, number + 1))
    assert p_value == pytest.approx(statistics.least_p_value(number))
    assert p_value == pytest.approx(2 / 2**number)
  assert statistics.paired_p_value(np.arange(1, 31)) == pytest.approx(
    statistics.least_p_value(30)
  )


def test_equal_spread_is_tested_about_the_median():
  """The statistic is the F of a one-way analysis of |x − median|."""
  rng = np.random.default_rng(0)
  one, two = rng.normal(size=12), 5 + 4 * rng.normal(size=12)
  away = [np.abs(x - np.median(x)) for x in (one, two)]
  centre = np.mean(away)
  between = sum(12 * (x.mean() - centre) ** 2 for x in away)
  within = sum(np.sum((x - x.mean()) ** 2) for x in away)
  expected = stats.f.sf(between / (within / 22), 1, 22)
  assert statistics.spread_p_value(one, two) == pytest.approx(expected)
  assert expected < 0.05
  assert statistics.spread_p_value(one, one + 3) == pytest.approx(1.0)
  assert statistics.spread_p_value([1.0] * 4, [2.0] * 4) == 1.0
  # Two seeds are too few for a test.
  assert statistics.spread_p_value([0.0, 9.0], [2.0, 2.1]) == 1.0


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_an_interval_is_that_of_a_normal_mean(level):
  """The bootstrap means of many samples are normal around their mean."""
  values = np.random.default_rng(0).gamma(9.0, size=400)
  low, high = statistics.interval(values, level=level)
  reach = stats.norm.ppf(0.5 + level / 2) * np.std(values) / len(values) ** 0.5
  np.testing.assert_allclose(low, values.mean() - reach, atol=0.06 * reach)
  np.testing.assert_allclose(high, values.mean() + reach, atol=0.06 * reach)
  assert statistics.interval([2.0, 2.0]) == (2.0, 2.0)


def test_ranks_share_ties():
  scores = [[0.9, 0.8, 0.8], [0.5, 0.7, 0.1]]
  # First set: 1, 2.5, 2.5; second: 2, 1, 3.
  ranks = statistics.mean_ranks(np.array(scores))
  np.testing.assert_allclose(ranks, [1.5, 1.75, 2.75])
  alike = np.array([[3.0, 2.0, 1.0]] * 6)
  # All six rank alike: chi² = 12.
  expected = stats.chi2.sf(12, 2)
  assert statistics.friedman_p_value(alike) == pytest.approx(expected)
  assert statistics.friedman_p_value(alike[:1]) is None
