"""Experts are sharded over devices, which `vmap` simulates."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from btw_jax import types
from btw_jax import weighting
from btw_jax.parallel import device_map
from btw_jax.parallel import expert_parallel
from support import problems

pytestmark = pytest.mark.training


def _whole(x):
  return x.reshape(-1, *x.shape[2:])


def _trainer(num_sharing):
  trainer = problems.trainer(
    problems.mixture(num_experts=4), dropout=0.0, optimizer=optax.sgd(1.0)
  )
  return dataclasses.replace(
    trainer,
    penalties={"importance": 0.3},
    max_norm=0.1,
    parallelism=device_map.Parallelism("shard_map", num_sharing),
  )


def _step(trainer, state, batch, num_devices):
  """Runs a step on a mesh of `num_devices`, some of which shard the experts."""
  shared = trainer.parallelism.experts
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )

  def share(x):
    return x.reshape(num_devices // shared, shared, -1, *x.shape[1:])

  of_experts = trainer.network.expert_mask(state.params)

  def cut(x, sharded):
    return x.reshape(shared, -1, *x.shape[1:]) if sharded else x

  params = jax.tree.map(cut, state.params, of_experts)
  axes = jax.tree.map(lambda sharded: 0 if sharded else None, of_experts)

  def step(params, batch, multipliers):
    local_state = state._replace(params=params)
    stepped, sums = trainer.step(local_state, batch, multipliers, 0)
    return stepped.params, sums["skipped"]

  mapped = jax.vmap(step, (axes, 0, 0), axis_name=device_map.EXPERTS)
  mapped = jax.vmap(mapped, (None, 0, 0), axis_name=device_map.AXIS)
  updated, skipped = jax.jit(mapped)(
    params, jax.tree.map(share, batch), share(multipliers)
  )
  for leaf, sharded in problems.leaves(updated, of_experts):
    assert sharded or np.ptp(leaf, axis=1).max() < 1e-6
    assert np.ptp(leaf, axis=0).max() < 1e-6
  joined = jax.tree.map(
    lambda x, sharded: _whole(x[0]) if sharded else x[0, 0], updated, of_experts
  )
  return joined, skipped


@pytest.mark.slow
def test_a_step_is_that_of_experts_on_every_device():
  """The gradient is clipped by its norm over all experts."""
  batch = problems.batch(16, missing=0.3)
  plain, shared = (_trainer(count) for count in (1, 2))
  state = jax.jit(plain.init)(0, types.Split(batch, None)).train
  expected, _ = _step(plain, state, batch, 4)
  actual, skipped = _step(shared, state, batch, 4)
  np.testing.assert_array_equal(skipped, 0)
  for a, b in problems.leaves(expected, actual):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def _total(experts, others):
  """Returns the sums on each device of a mesh of 2 x 2."""
  of_experts = {"experts": True, "others": False}

  def add(experts, others):
    gradients = {"experts": experts, "others": others}
    names = (device_map.AXIS, device_map.EXPERTS)
    sums, _ = expert_parallel.sum_gradients(gradients, {}, of_experts, names)
    return sums["experts"], sums["others"]

  mapped = jax.vmap(add, axis_name=device_map.EXPERTS)
  return jax.vmap(mapped, axis_name=device_map.AXIS)(experts, others)


def test_gradients_of_experts_add_up_over_those_that_have_them():
  rng = np.random.default_rng(0)
  experts, others = rng.normal(size=(2, 2, 2, 3)).astype("f")
  sums = _total(experts, others)
  for device in range(2):
    np.testing.assert_allclose(sums[0][device], experts.sum(0), rtol=1e-5)
    for other in range(2):
      np.testing.assert_allclose(
        sums[1][device, other], others.sum((0, 1)), rtol=1e-5
      )


def test_an_expert_whose_gradient_is_not_finite_stops_every_device():
  experts = np.zeros((2, 2, 3), np.float32)
  experts[1, 0, 2] = np.inf
  expert_sums, others = _total(experts, np.ones((2, 2, 3), np.float32))
  # The gradients of the other half of the experts are stopped too.
  assert np.all(~np.isfinite(expert_sums).any(axis=-1))
  np.testing.assert_array_equal(others, 4)
