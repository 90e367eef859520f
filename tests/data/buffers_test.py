import jax.numpy as jnp
import numpy as np

from btw_jax.data import buffers


def _address(array):
  return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_no_view_is_left():
  pool = buffers.Buffers()
  first = pool.empty((4, 5), np.float32)
  first[:] = 1
  place = _address(first)
  # A view of a view keeps it, however the array is called.
  view = first.reshape(20)[3:].view(np.uint8)
  del first
  second = pool.empty((20,), np.float32)
  assert _address(second) != place
  second[:] = 2
  np.testing.assert_array_equal(view.view(np.float32), 1)
  del view
  third = pool.empty((5, 4), np.float32)
  assert _address(third) == place
  assert _address(pool.empty((5, 3), np.float32)) != place
  assert pool.empty((0, 3), np.float32).shape == (0, 3)


def test_what_jax_holds_is_not_written_to():
  pool = buffers.Buffers()
  array = pool.empty((256, 256), np.float32)
  array[:] = 1
  held = jnp.asarray(array)
  del array
  for _ in range(3):
    pool.empty((256, 256), np.float32)[:] = 2
  np.testing.assert_array_equal(held, 1)
