import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from support import balances
from support import problems

pytestmark = pytest.mark.training


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_gradient_is_that_of_all_losses(task):
  trainer = balances.trainer(
    "unimodal_losses", task=task, dropout=0.0, optimizer=optax.sgd(1.0)
  )
  batch = problems.batch(16, missing=0.3, task=task)
  state, stepped, _ = balances.step_on(trainer, batch, value=0.3)
  # Example by example: all that is present weighs 1, all else 0.
  present = np.asarray(batch.present)

  def mean_loss(params, shown):
    outputs, _ = trainer.network.apply(
      {"params": params}, batch, jnp.asarray(shown, jnp.float32), train=False
    )
    losses = trainer.task.loss(outputs[0], batch.target)
    return jnp.sum(jnp.where(shown.any(axis=1), losses, 0)) / 16

  def total(params):
    alone = [present & (np.arange(3) == m) for m in range(3)]
    return mean_loss(params, present) + 0.3 * sum(
      mean_loss(params, shown) for shown in alone
    )

  slopes = jax.jit(jax.grad(total))(state.params)
  for before, after, slope in problems.leaves(
    state.params, stepped.params, slopes
  ):
    np.testing.assert_allclose(before - after[0], slope, rtol=1e-3, atol=1e-5)
