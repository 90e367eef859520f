import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from btw_jax import paired


def test_examples_are_numbered_by_id():
  shared = paired.number_examples([np.array(["b", "a", "c"])], 2)
  np.testing.assert_array_equal(shared, [[1, 0, 2]] * 2)
  drawn = paired.number_examples([np.array([5, 7]), np.array([7, 9])], 2)
  np.testing.assert_array_equal(drawn, [[0, 1], [1, 2]])


def test_one_seed_has_the_error_of_a_mean():
  values = np.random.default_rng(0).normal(size=(1, 30))
  examples = np.arange(30)[None]
  for function in (paired.over_examples, paired.over_seeds_and_examples):
    mean = function(values, examples)
    assert mean.value == pytest.approx(values.mean())
    # std / sqrt(N), with N - 1 in the variance.
    assert mean.error == pytest.approx(values.std(ddof=1) / 30**0.5)
    assert mean.num_examples == 30


def test_an_example_of_several_seeds_counts_once():
  values = np.random.default_rng(0).normal(size=(1, 30))
  examples = np.arange(30)[None]
  one = paired.over_examples(values, examples)
  four = paired.over_examples(
    np.repeat(values, 4, axis=0), np.repeat(examples, 4, axis=0)
  )
  assert four == pytest.approx(one)


def test_values_that_do_not_count_change_nothing():
  rng = np.random.default_rng(0)
  values, where = rng.normal(size=(3, 20)), rng.random((3, 20)) < 0.7
  examples = np.broadcast_to(np.arange(20), values.shape)
  for function in (paired.over_examples, paired.over_seeds_and_examples):
    expected = function(values, examples, where)
    changed = function(np.where(where, values, 1e9), examples, where)
    assert changed == expected
    assert expected.value == pytest.approx(values[where].mean())
  empty = paired.over_examples(values, examples, np.zeros_like(where))
  assert empty == (0.0, np.inf, 0)


def test_one_example_has_no_error_that_could_be_known():
  values, examples = np.array([[1.0], [2.0]]), np.array([[4], [4]])
  for function in (paired.over_examples, paired.over_seeds_and_examples):
    assert function(values, examples) == (1.5, np.inf, 1)


def test_the_error_over_both_is_that_of_crossed_effects():
  """`d_si = a_s + b_i + e_si` has variance σa²/S + σb²/N + σe²/(S·N)."""
  rng, (num_seeds, number) = np.random.default_rng(0), (10, 40)
  examples = np.broadcast_to(np.arange(number), (num_seeds, number))
  means, variances = [], []
  for _ in range(2000):
    values = (
      0.5 * rng.normal(size=(num_seeds, 1))
      + rng.normal(size=(1, number))
      + 2.0 * rng.normal(size=(num_seeds, number))
    )
    mean = paired.over_seeds_and_examples(values, examples)
    means.append(mean.value)
    variances.append(mean.error**2)
  expected = 0.25 / num_seeds + 1 / number + 4 / (num_seeds * number)
  # The standard error of a variance of 2000 draws is about 3 %.
  assert np.var(means) == pytest.approx(expected, rel=0.1)
  assert np.mean(variances) == pytest.approx(expected, rel=0.1)


@hypothesis.given(st.integers(0, 2**32 - 1))
def test_the_error_over_both_is_no_smaller_than_over_examples(seed):
  rng = np.random.default_rng(seed)
  values = rng.normal(size=(3, 8)) + 3 * rng.normal(size=(3, 1))
  examples = rng.integers(0, 6, (3, 8))
  both = paired.over_seeds_and_examples(values, examples)
  one = paired.over_examples(values, examples)
  assert both.error >= one.error - 1e-12
  assert both.value == pytest.approx(one.value)


def test_holm_multiplies_the_least_by_their_number():
  # 4 x .01, 3 x .013 < .04, 2 x .03, 1 x .05 < .06.
  corrected = paired.holm([0.03, 0.01, 0.05, 0.013])
  np.testing.assert_allclose(corrected, [0.06, 0.04, 0.06, 0.04])
  np.testing.assert_allclose(paired.holm([0.6, 0.7]), [1.0, 1.0])
  assert len(paired.holm([])) == 0


@hypothesis.given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_sequential_procedure_does(p_values):
  expected, level = [False] * len(p_values), 0.05
  for step, i in enumerate(np.argsort(p_values, kind="stable")):
    if p_values[i] * (len(p_values) - step) >= level:
      break
    expected[i] = True
  assert list(paired.holm(p_values) < level) == expected
