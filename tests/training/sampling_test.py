import numpy as np
import pytest

from btw_jax.data import plans
from btw_jax.training import sampling


@pytest.mark.parametrize("num_examples", [16, 23, 40])
def test_slots_draw_their_own_order(num_examples):
  """Each example is drawn at most once, and any subset of slots agrees."""
  layout = plans.SlotLayout(num_examples, 8)
  slots = np.arange(8)
  orders = [
    sampling.epoch_order(0, epoch, slots, layout) for epoch in range(12)
  ]
  every = layout.rows(slots)
  left_out = set()
  for order in orders:
    assert order.shape == (num_examples // 8, 8)
    seen = every[slots, order].ravel().tolist()
    assert plans.PADDING not in seen
    assert len(set(seen)) == len(seen)
    left_out |= set(range(num_examples)) - set(seen)
  assert np.any(orders[0] != orders[1])
  # A remainder is not always the same examples.
  assert len(left_out) > 2 * (num_examples % 8) or num_examples % 8 == 0
  np.testing.assert_array_equal(
    sampling.epoch_order(0, 1, slots[2:5], layout), orders[1][:, 2:5]
  )
  assert np.any(orders[0] != sampling.epoch_order(1, 0, slots, layout))


def test_neighbours_are_sought_among_a_sample_of_every_slot():
  layout = plans.SlotLayout(100, 8)
  assert sampling.sample_rows(0, 0, np.arange(8), layout, 2**14) is None
  slots = np.arange(4, 8)
  rows = np.asarray(sampling.sample_rows(0, 0, slots, layout, 24))
  assert len(set(rows.tolist())) == 4 * 3
  np.testing.assert_array_equal(rows // 13, np.repeat(np.arange(4), 3))
  numbers = plans.SlotLayout(100, 8).rows(slots).reshape(-1)[rows]
  assert plans.PADDING not in numbers
  assert np.any(rows != sampling.sample_rows(0, 1, slots, layout, 24))
