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


def test_sequences_of_known_length_start_behind_padding_in_front():
  x, length = np.zeros((5, 4, 1)), np.array([2, 2, 2, 4, 2])
  x[0, :2], x[1, 2:], x[2], x[3] = 1, 1, 1, 1
  # A step of zeros inside a sequence may be silence: row 4 has one step more.
  x[4, 1] = 1
  first = padding.first_steps(x, length)
  # Row 2 has no padding at all: its length says that the end is not counted.
  np.testing.assert_array_equal(first, [0, 2, 0, 0, 0])
  moved = padding.rotate(x, first)
  np.testing.assert_array_equal(moved[1, :, 0], [1, 1, 0, 0])
  np.testing.assert_array_equal(x[1, :, 0], [0, 0, 1, 1])
