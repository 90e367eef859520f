import numpy as np
import pytest
from scipy import stats

from btw_jax.analysis import information_test


def _exchange(table, present=None, num_exchanges=20, seed=0):
  """Exchanges with the loss `table[..., i, j]` of example i with donor j."""
  number = table.shape[-1]
  if present is None:
    present = np.ones(number, bool)
  donors = information_test.draw_donors(
    np.random.default_rng(seed), present, num_exchanges
  )
  exchanged = table[..., np.arange(number), donors]
  original = np.diagonal(table, axis1=-2, axis2=-1)
  donors = np.broadcast_to(donors, exchanged.shape)
  return information_test.exchange_rise(
    original, exchanged, donors, np.broadcast_to(present, original.shape)
  )


def test_donors_are_other_examples_of_the_same_group_that_have_the_modality():
  present = np.arange(14) % 7 > 0
  groups = np.arange(14) % 2
  donors = information_test.draw_donors(
    np.random.default_rng(0), present, 50, groups
  )
  np.testing.assert_array_equal(np.sort(donors, axis=1), [np.arange(14)] * 50)
  assert np.all((donors != np.arange(14)) == present)
  assert np.all(groups[donors] == groups)
  # Every other example of the group is a donor at some time.
  assert {int(d) for d in donors[:, 1]} == {3, 5, 9, 11, 13}
  alone = np.arange(3) == 1
  np.testing.assert_array_equal(
    information_test.draw_donors(np.random.default_rng(0), alone, 2),
    [[0, 1, 2]] * 2,
  )


def test_the_mean_rise_is_that_of_the_exchanged_losses():
  table = np.random.default_rng(0).normal(size=(40, 40))
  rise, where = _exchange(table, num_exchanges=2000)
  assert np.all(where)
  others = (table.sum() - np.trace(table)) / (40 * 39)
  # The mean over 2000 exchanges of 40 examples, each with a spread of 1.
  error = 1 / (2000 * 40) ** 0.5
  assert np.mean(rise) == pytest.approx(
    others - np.trace(table) / 40, abs=5 * error
  )


def test_what_varies_with_example_or_donor_alone_is_no_rise():
  rng = np.random.default_rng(0)
  table = 9 * rng.normal(size=(30, 1)) + 9 * rng.normal(size=(1, 30))
  rise, _ = _exchange(table)
  # The fit of receiver and donor converges by a factor of 20 a round.
  assert np.std(rise) < 9 * 20**-2


def test_only_examples_with_the_modality_count():
  table = np.ones((12, 12))
  np.fill_diagonal(table, 0)
  present = np.arange(12) % 3 > 0
  table[~present] = table[:, ~present] = np.nan
  rise, where = _exchange(table, present)
  np.testing.assert_array_equal(where, present)
  np.testing.assert_allclose(rise, np.where(present, 1.0, 0.0), atol=1e-12)


def test_the_level_is_kept_although_examples_and_donors_vary():
  """Losses `a_i + b_j + c_ij`: the modality tells nothing."""
  rng, number, draws = np.random.default_rng(0), 60, 1000
  main = 5 * rng.normal(size=(draws, number, 1)) ** 2
  donor = 2 * rng.normal(size=(draws, 1, number))
  table = main + donor + rng.normal(size=(draws, number, number))
  rises = [_exchange(t, seed=s) for s, t in enumerate(table)]
  tests = information_test.test(
    information_test.Rise(
      *(np.stack(x)[None] for x in zip(*rises, strict=True))
    ),
    np.arange(number)[None],
    num_exchanges=20,
  )
  rejected = np.mean(tests.p_value < 0.05)
  # Three standard errors of a share of 5 % in 1000 draws.
  assert rejected == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / draws) ** 0.5)


def test_rises_by_absence_get_the_test_of_a_mean():
  rng = np.random.default_rng(0)
  original, absent = rng.random((2, 1, 3, 50))
  absent[:, 1] += 0.5
  present = rng.random((1, 3, 50)) < 0.9
  rises = information_test.absence_rise(original, absent, present)
  test = information_test.test(rises, np.arange(50)[None])
  for m in range(3):
    values = (absent - original)[0, m][present[0, m]]
    expected = stats.ttest_1samp(values, 0, alternative="greater")
    assert test.p_value[m] == pytest.approx(expected.pvalue, rel=1e-4)
    assert test.rise[m] == pytest.approx(values.mean(), rel=1e-5)
  # Holm's method multiplies the least p-value by 3.
  assert test.corrected.min() == pytest.approx(3 * test.p_value.min())


def test_without_any_spread_the_rise_decides():
  values = np.stack([np.zeros(9), np.ones(9), -np.ones(9)])[None]
  rises = information_test.Rise(values, np.ones(values.shape, bool))
  test = information_test.test(rises, np.arange(9)[None])
  np.testing.assert_array_equal(test.p_value, [0.5, 0.0, 0.5])


def test_a_modality_is_idle_only_if_no_test_finds_anything():
  def made(*corrected, number=20):
    p_value = np.array(corrected)
    return information_test.Test(
      p_value, p_value, np.full(len(p_value), number), p_value, p_value
    )

  alone, together = made(0.9, 0.9, 0.01, 0.01), made(0.9, 0.01, 0.9, 0.01)
  np.testing.assert_array_equal(
    information_test.idle([alone, together]), [True, False, False, False]
  )
  assert information_test.idle([made(0.05)]).all()
  assert not information_test.idle([made(0.9, number=19)]).any()
