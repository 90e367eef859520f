"""Groups of runs against the same runs in one group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.parallel import device_map
from btw_jax.training import example_source
from btw_jax.training import in_memory
from btw_jax.training import run_groups
from btw_jax.training import vectorized_runs
from support import problems

_TWO_CORES = run_groups.Groups(2, 4, 2, 2)
_SPECS = [
  vectorized_runs.RunSpec(variant, 1.0, 1.0) for variant in ("uniform", "kl+mi")
]


def _splits(own):
  """Draws a training and a validation split of four seeds."""
  rng = np.random.default_rng(0)
  splits = []
  for number in (60, 20):
    batch = problems.batch(number)
    if own:
      copies = [jax.tree.map(lambda x, s=s: x[::s], batch) for s in (1, -1)] * 2
      batch = jax.tree.map(lambda *x: np.stack(x), *copies)
    unimodal = rng.normal(size=(4, 3, number, 3)).astype(np.float32)
    splits.append(types.Split(batch, unimodal))
  return splits


def test_the_cores_are_done_early():
  make = run_groups.plan
  assert make(1, 1, 2) == run_groups.Groups(1, 1, 1, 1)
  assert make(1, 10, 1) == run_groups.Groups(1, 10, 10, 1)
  assert make(1, 10, 2) == run_groups.Groups(1, 10, 5, 2)
  # Two rounds of one seed take less than one call of three.
  assert make(1, 3, 2) == run_groups.Groups(1, 3, 1, 2)
  # Settings are groups, if they are enough for all cores.
  assert make(8, 3, 2) == run_groups.Groups(8, 3, 3, 2)
  assert make(8, 3, 16) == run_groups.Groups(8, 3, 1, 16)
  assert make(2, 4, 2).num_concurrent == 8
  assert make(1, 3, 16).num_concurrent == 3


def test_large_runs_are_one_group():
  assert run_groups.make(4, 10, 2**30).is_one


def test_groups_part_a_state_and_join_it_again():
  state = {
    "a": np.arange(16.0).reshape(2, 4, 2),
    "b": np.arange(8).reshape(2, 4),
  }
  state = jax.tree.map(jnp.asarray, state)
  parts = _TWO_CORES.split(state, device_map.REPLICATED)
  assert _TWO_CORES.starts == [(0, 0), (0, 2), (1, 0), (1, 2)]
  np.testing.assert_array_equal(parts[3]["b"], [[6, 7]])
  for joined in (
    _TWO_CORES.join(parts, device_map.REPLICATED),
    _TWO_CORES.join_logs(parts),
  ):
    jax.tree.map(np.testing.assert_array_equal, joined, state)


def test_what_is_sharded_has_an_axis_of_devices_before():
  state = jnp.arange(24).reshape(1, 2, 4, 3)
  parts = _TWO_CORES.split(state, device_map.SHARDED)
  np.testing.assert_array_equal(parts[2], state[:, 1:, :2])
  joined = _TWO_CORES.join(parts, device_map.SHARDED)
  np.testing.assert_array_equal(joined, state)


def test_an_error_of_one_group_is_raised():
  def fail(number):
    if number == 2:
      raise ValueError("group 2")
    return number

  with pytest.raises(ValueError, match="group 2"):
    _TWO_CORES.map(fail)


@pytest.mark.training
@pytest.mark.parametrize("own", [False, True])
def test_groups_train_as_all_runs_in_one_group_do(own):
  trainer = problems.trainer(
    rule=problems.RULE, batch_size=10, optimizer=problems.SMOOTH
  )
  found = []
  for groups in (run_groups.Groups(2, 4, 4, 1), _TWO_CORES):
    train, valid = _splits(own)
    runner = in_memory.InMemoryRunner(
      trainer,
      _SPECS,
      range(4),
      example_source.make(train, trainer.batch_size),
      example_source.make(valid, 1),
      groups=groups,
    )
    first = runner.run_epoch(0)
    middle = jax.device_get(runner.run)
    # As after a resume.
    runner.run = jax.tree.map(jnp.copy, runner.run)
    last = runner.run_epoch(1)
    found.append((first, middle, last, runner.run))
    assert runner.latest_best == np.max(runner.run.best.epoch)
    assert runner.num_bytes() > 0
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), *found
  )
