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
from btw_jax.training import weighting_rule
from support import problems

pytestmark = pytest.mark.training


@pytest.mark.slow
@pytest.mark.parametrize("normalise", weighting_rule.NORMALISATIONS)
def test_devices_seek_neighbours_among_the_same_examples(normalise):
  """Equal outputs give equal weights to the last bit."""
  num_examples = 45
  rng = np.random.default_rng(0)
  batch = problems.batch(num_examples, missing=0.2, task="regression")
  outputs = rng.normal(size=(num_examples, 2)).astype(np.float32)
  unimodal = rng.normal(size=(3, num_examples, 2)).astype(np.float32)
  unimodal += outputs
  all_samples = dataclasses.replace(problems.RULE, normalise=normalise)
  rule = dataclasses.replace(all_samples, num_samples=24)
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
    return new_state.information, new_state.table.reshape(-1, 3)

  one, four = refreshed(rule, 1), refreshed(rule, 4)
  assert set(one[0]) == set(rule.statistics)
  for name, values in one[0].items():
    for device in range(4):
      np.testing.assert_array_equal(four[0][name][device], values[0])
  np.testing.assert_array_equal(four[1], one[1])
  # The estimate is from a sample, not from all examples.
  assert np.all(refreshed(all_samples, 1)[0]["mi"] != one[0]["mi"])


def test_the_range_is_of_examples_with_finite_outputs():
  """Examples are missing, and padded, too."""
  rng = np.random.default_rng(0)
  present = np.asarray(problems.batch(32, missing=0.2).present).copy()
  present[30:] = False
  # Predictions are near 5: those that are far from it have large divergences.
  outputs = (5 + rng.normal(size=(32, 2))).astype("f")
  unimodal = (5 + rng.normal(size=(3, 32, 2))).astype("f")
  counted = present.copy()
  for row, value in ((3, np.nan), (8, np.inf)):
    outputs[row] = value
    counted[row] = False
  unimodal[:, ~present.any(1)] = -90.0
  rule = dataclasses.replace(problems.RULE, normalise="minmax")
  trainer = problems.trainer(task="regression", rule=rule)
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(rule, problems.WEIGHTED), 0
  )
  refresh = functools.partial(weight_refresh.refresh, trainer, 32, cell, 0, 0)
  batch = types.Batch(None, jnp.asarray(present)[None], None)
  refreshed = jax.jit(jax.vmap(refresh, axis_name=device_map.AXIS))(
    types.Split(batch, jnp.asarray(unimodal)[None]), jnp.asarray(outputs)[None]
  )
  p, q = trainer.task.predict(unimodal), trainer.task.predict(outputs)
  distance = np.asarray((p.mean - q.mean) ** 2)
  divergence = np.log(q.std / 0.1) + (0.01 + distance) / (2 * q.std**2) - 0.5
  for name, reduce in (("min", np.min), ("max", np.max)):
    expected = [reduce(divergence[m][counted[:, m]]) for m in range(3)]
    actual = refreshed.information[f"{name}_divergence"][0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
  table = np.asarray(refreshed.table[0])
  assert np.all(np.isfinite(table)) and np.all(table[~present] == 0)
