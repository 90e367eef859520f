import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import types
from btw_jax import weighting
from btw_jax.parallel import device_map
from support import problems

pytestmark = pytest.mark.training


def test_a_step_on_shares_equals_a_step_on_the_whole():
  """The test simulates devices by `vmap` over the axis name."""
  batch = problems.batch(16, missing=0.3)
  trainer = problems.trainer(dropout=0.0)
  split = types.Split(batch, None)
  state = jax.jit(trainer.init)(0, split).train
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )

  def run(num_devices):
    def share(x):
      return x.reshape(num_devices, -1, *x.shape[1:])

    step = jax.vmap(trainer.step, (None, 0, 0, None), axis_name=device_map.AXIS)
    return jax.jit(step)(
      state,
      jax.tree.map(share, batch),
      share(multipliers),
      0,
    )

  for a, b in problems.leaves(run(1), run(4)):
    for device in range(4):
      np.testing.assert_allclose(a[0], b[device], rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_the_mean_loss():
  batch = problems.batch(16)
  trainer = dataclasses.replace(
    problems.trainer(dropout=0.0), optimizer=optax.sgd(1.0)
  )
  state = jax.jit(trainer.init)(0, types.Split(batch, None)).train
  step = jax.vmap(
    trainer.step, (None, 0, None, None), axis_name=device_map.AXIS
  )
  stepped, sums = jax.jit(step)(
    state,
    jax.tree.map(lambda x: x[None], batch),
    None,
    0,
  )

  def mean_loss(params):
    outputs, _ = trainer.network.apply(
      {"params": params}, batch, None, train=False
    )
    return jnp.mean(trainer.task.loss(outputs[0], batch.target))

  value, gradient = jax.jit(jax.value_and_grad(mean_loss))(state.params)
  np.testing.assert_allclose(sums["loss"][0, 0] / 16, value, rtol=1e-5)
  for before, after, g in problems.leaves(
    state.params, stepped.params, gradient
  ):
    np.testing.assert_allclose(before - after[0], g, rtol=1e-3, atol=1e-5)
