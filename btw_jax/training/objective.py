"""The objective of a training step: what it minimises, and its gradient."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import hooks


def gradients(
  trainer: Any,
  forward: forward_lib.Forward,
  step: hooks.Step,
  count: chex.Array,
  importance: chex.Array | None,
) -> tuple[
  chex.ArrayTree, chex.ArrayTree | None, tuple[chex.ArrayTree, chex.ArrayTree]
]:
  """Computes this device's share of the gradients of a step.

  Args:
    trainer: the trainer.
    forward: the forward pass; its parameters are those to differentiate at.
    step: the step, as the hook gets it.
    count: `[U]` number of examples of the whole batch.
    importance: `[B]` factor of each example in the loss, or None.

  Returns:
    The gradient of what is minimised; that of what is minimised apart, or None;
    and the sums to report with the state of the hook.
  """

  def minimised(params):
    return _minimised(
      trainer, forward.with_params(params), step, count, importance
    )

  gradients, (sums, state) = jax.grad(minimised, has_aux=True)(forward.params)
  if not trainer.hook.has_apart:
    return gradients, None, (sums, state)

  def minimised_apart(params):
    now = forward.with_params(params)
    losses = trainer.hook.minimise_apart(
      step.with_state(state), now, now.encode(now.batch)
    )
    return _mean(losses, count, importance)

  # XLA merges the encoders' forward passes of both gradients.
  return gradients, jax.grad(minimised_apart)(forward.params), (sums, state)


def _minimised(trainer, forward, step, count, importance):
  """Returns this device's share of the mean loss, and what to report."""
  batch, hook = forward.batch, trainer.hook
  embeddings = forward.encode(batch)
  state = jax.lax.stop_gradient(
    hook.observe(
      step, forward.with_fixed_params(), jax.lax.stop_gradient(embeddings)
    )
  )
  step = step.with_state(state)
  shown = hook.show(
    step, forward, hooks.Shown(embeddings, batch, forward.multipliers)
  )
  outputs, usage = forward.fuse(*shown)
  losses = forward.losses(outputs, batch)
  minimised = hook.minimise(step, forward, embeddings, outputs, losses)
  mean = _mean(minimised, count, importance)
  scores = trainer.task.score(outputs, batch.target)
  scores = forward.mask(scores, batch)
  losses, scores = (jnp.sum(x, axis=-1) for x in (losses, scores))
  sums = {"loss": losses, "score": scores}
  if usage is not None:
    mean += _penalty(trainer, usage)
    sums["usage"] = usage
  return mean, (sums, state)


def _mean(losses, count, importance):
  """Returns this device's share of the mean of losses `[U, B]`, summed."""
  if importance is not None:
    losses = importance * losses
  return jnp.sum(jnp.sum(losses, axis=-1) / jnp.maximum(count, 1.0))


def _penalty(trainer, usage):
  """Returns this device's share of the penalties.

  Penalties are functions of the usage of the whole batch. To first order, hence
  in the gradient, a device adds its own usage times the derivative at the usage
  of all devices.
  """

  def weighted_penalty(usage):
    penalties = trainer.network.penalties(usage)
    return sum(
      trainer.penalties.get(name, 0.0) * v for name, v in penalties.items()
    )

  total_usage = jax.lax.psum(usage, trainer.axis_name)
  slopes = jax.grad(weighted_penalty)(jax.lax.stop_gradient(total_usage))
  return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, slopes, usage)))
