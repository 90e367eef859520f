import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models import dropout


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
  x = jnp.ones((300, 333))
  output = np.asarray(
    dropout.Dropout(rate).apply(
      {}, x, train=True, rngs={"dropout": jax.random.key(0)}
    )
  )
  dropped = np.mean(output == 0)
  # 1/512 allows for rounding the rate, .006 for the spread of 99,900 draws.
  assert dropped == pytest.approx(rate, abs=1 / 512 + 0.006)
  assert output.mean() == pytest.approx(1.0, abs=0.04)
  assert len(np.unique(output)) <= 2
  # Neighbours share a random word but are dropped independently.
  gone = (output == 0).ravel()
  both = np.mean(gone[0::2] & gone[1::2][: len(gone[0::2])])
  assert both == pytest.approx(dropped**2, abs=0.01)


@pytest.mark.training
@pytest.mark.parametrize("batch_axis", [0, 1])
def test_devices_drop_what_one_would(batch_axis):
  """The mask of an example depends on its position in the full batch."""
  x = np.ones((8, 3, 10), np.float32)
  x = np.moveaxis(x, 0, batch_axis)

  def dropped(x, axis_name=None):
    return dropout.Dropout(0.5, axis_name).apply(
      {}, x, train=True, batch_axis=batch_axis,
      rngs={"dropout": jax.random.key(0)},
    )  # fmt: skip

  full = dropped(x)
  shape = (*x.shape[:batch_axis], 4, 2, *x.shape[batch_axis + 1 :])
  parts = jax.vmap(
    functools.partial(dropped, axis_name="devices"),
    batch_axis, batch_axis, axis_name="devices",
  )(x.reshape(shape))  # fmt: skip
  np.testing.assert_array_equal(parts.reshape(x.shape), full)
  # Examples have different masks.
  rows = np.moveaxis(full, batch_axis, 0).reshape(8, -1)
  assert len(np.unique(rows, axis=0)) == 8


def test_masks_are_the_bits_of_jax():
  """A byte of the word that an example's own key draws decides an entry."""
  key, x = jax.random.key(3), jnp.ones((5, 2, 7))
  actual = jax.jit(lambda x: dropout.drop(key, x, 0.25, None))(x)
  for number in range(5):
    own = jax.random.fold_in(key, number)
    words = np.asarray(jax.random.bits(own, (4,), jnp.uint32))
    expected = words.view(np.uint8)[:14].reshape(2, 7) >= 64
    np.testing.assert_array_equal(actual[number] > 0, expected)
