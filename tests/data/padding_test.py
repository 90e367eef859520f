import numpy as np

from btw_jax.data import padding


def test_padding_and_taking_it_away_are_inverse():
  rng = np.random.default_rng(0)
  arrays = [rng.uniform(1, 2, (t, 3)) for t in (2, 0, 5, 1)]
  x, length = padding.pad(arrays, 3)
  assert x.shape == (4, 5, 3)
  np.testing.assert_array_equal(length, [2, 0, 5, 1])
  late = np.zeros_like(x)
  for row, part in enumerate(arrays):
    late[row, 5 - len(part) :] = part
  before = late.copy()
  moved, lengths = padding.move_to_front(late)
  np.testing.assert_array_equal(moved, x)
  np.testing.assert_array_equal(lengths, length)
  np.testing.assert_array_equal(late, before)
  # Zeros inside a sequence stay.
  gap = np.zeros((1, 6, 1))
  gap[0, [1, 4]] = 1
  moved, lengths = padding.move_to_front(gap)
  np.testing.assert_array_equal(moved[0, :, 0], [1, 0, 0, 1, 0, 0])
  assert lengths == [4]


def test_what_is_not_finite_is_replaced_and_counted():
  x = np.ones((3000, 2), np.float32)
  x[[1, 2000, 2999], 1] = np.nan, np.inf, -np.inf
  before = x.copy()
  replaced, count = padding.replace_non_finite(x)
  assert count == 3
  np.testing.assert_array_equal(replaced, np.nan_to_num(x, posinf=0, neginf=0))
  np.testing.assert_array_equal(x, before)
