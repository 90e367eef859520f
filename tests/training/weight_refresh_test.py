import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.training import vectorized_runs
from btw_jax.training import weight_refresh
from support import problems

pytestmark = pytest.mark.training


@pytest.mark.slow
def test_devices_seek_neighbours_among_the_same_examples():
  """Equal outputs give equal weights to the last bit."""
  num_examples = 45
  rng = np.random.default_rng(0)
  batch = problems.batch(num_examples, missing=0.2, task="regression")
  outputs = rng.normal(size=(num_examples, 2)).astype(np.float32)
  unimodal = rng.normal(size=(3, num_examples, 2)).astype(np.float32)
  unimodal += outputs
  rule = dataclasses.replace(problems.RULE, num_samples=24)
  layout = plans.SlotLayout(num_examples, 8)
  rows = layout.rows(np.arange(8)).reshape(-1)
  valid = rows != plans.PADDING
  rows = np.maximum(rows, 0)
  present = batch.present[rows] & valid[:, None]

  def refreshed(rule, num_devices):
    trainer = problems.trainer(task="regression", rule=rule)
    trainer = dataclasses.replace(trainer, batch_size=8)

    def share(x, axis=0):
      shape = (*x.shape[:axis], num_devices, -1, *x.shape[axis + 1 :])
      return jnp.moveaxis(x.reshape(shape), axis, 0)

    cell = vectorized_runs.select_setting(
      vectorized_runs.stack_params(rule, problems.WEIGHTED), 0
    )
    split = types.Split(
      types.Batch(None, share(present), None), share(unimodal[:, rows], 1)
    )
    mapped = jax.vmap(
      functools.partial(
        weight_refresh.refresh, trainer, num_examples, cell, 0, 3
      ),
      axis_name=device_map.AXIS,
    )
    new_state = jax.jit(mapped)(split, share(outputs[rows]))
    return new_state.information["mi"], new_state.table.reshape(-1, 3)

  one, four = refreshed(rule, 1), refreshed(rule, 4)
  for device in range(4):
    np.testing.assert_array_equal(four[0][device], one[0][0])
  np.testing.assert_array_equal(four[1], one[1])
  # The estimate is from a sample, not from all examples.
  assert np.all(refreshed(problems.RULE, 1)[0] != one[0])
