"""The update of a state by the gradients of a step."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import hooks
from btw_jax.training import model_groups
from btw_jax.training import state as state_lib


def follow(
  trainer: Any,
  state: state_lib.TrainState,
  step: hooks.Step,
  gradients: chex.ArrayTree,
  apart: chex.ArrayTree | None,
  num_models: int,
  *,
  rate: chex.Array | None = None,
) -> state_lib.TrainState:
  """Updates the parameters by the gradients of a step.

  Args:
    trainer: the trainer.
    state: the state before the step.
    step: the step, with the new state of the hook.
    gradients: over the batch of all devices.
    apart: the gradients of what the hook minimises apart, or None.
    num_models: U.
    rate: scalar factor of the updates; 1 by default.

  Returns:
    The next state. A gradient that is not finite changes no parameter.
  """
  network, optimizer = trainer.network, trainer.guarded_optimizer
  owners = hooks.Owners(
    network.encoder_ids(gradients), len(network.sizes.widths)
  )
  gradients = trainer.hook.change_gradients(step, owners, gradients, apart)
  if trainer.max_norm is not None:
    gradients = model_groups.clip(
      gradients,
      trainer.max_norm,
      network.model_ids(gradients),
      num_models,
      trainer.sum_leaves,
    )
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  if rate is not None:
    updates = jax.tree.map(lambda x: rate * x, updates)
  updates = trainer.hook.change_updates(step, owners, updates)
  params = optax.apply_updates(state.params, updates)
  trained = trainer.hook.trained(step)
  if trained is not None:
    params, opt_state = _freeze(
      optimizer, owners, trained, (params, opt_state), state
    )
  return state_lib.TrainState(state.step + 1, params, opt_state, step.state)


def _freeze(optimizer, owners, trained, new, state):
  """Returns the new parameters and optimizer state of what is trained."""
  params, opt_state = new
  # What belongs to no encoder has the number M.
  mask = jnp.append(trained, True)
  ids = optax.tree_map_params(
    optimizer,
    lambda _, ids: ids,
    opt_state,
    owners.ids,
    transform_non_params=lambda _: np.asarray(owners.num_modalities),
  )
  return (
    model_groups.select(mask, params, state.params, owners.ids),
    model_groups.select(mask, opt_state, state.opt_state, ids),
  )
