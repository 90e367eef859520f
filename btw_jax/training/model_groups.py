"""Models that train side by side in one program, as one pytree of parameters.

`owners`, from a network's `model_ids`, is a pytree like its parameters. For
every entry of a leaf's leading axis it holds the number of the model, of U, to
which the entry belongs; or a scalar where the whole leaf belongs to one model.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from btw_jax.training import state as state_lib


def select(
  mask: chex.Array,
  new: chex.ArrayTree,
  old: chex.ArrayTree,
  owners: chex.ArrayTree,
) -> chex.ArrayTree:
  """Selects `new` for the models of a mask `[U]`, and `old` for the others."""
  return jax.tree.map(
    lambda a, b, ids: jnp.where(_broadcast(mask, ids, a.ndim), a, b),
    new,
    old,
    owners,
  )


def sum_leaves(values: chex.ArrayTree) -> chex.Array:
  """Adds up the leaves of a pytree, arrays of one shape."""
  return sum(jax.tree.leaves(values))


def clip(
  gradients: chex.ArrayTree,
  max_norm: float,
  owners: chex.ArrayTree,
  num_models: int,
  sum_leaves: Callable[[chex.ArrayTree], chex.Array] = sum_leaves,
) -> chex.ArrayTree:
  """Clips the gradient of each of U = `num_models` models to a Euclidean norm.

  `sum_leaves` adds up a pytree's leaves, over all devices where each device
  holds a part of the parameters.
  """

  def squared_norms(g, ids):
    axes = tuple(range(ids.ndim, g.ndim))
    return jnp.zeros(num_models).at[ids].add(jnp.sum(g**2, axis=axes))

  total = sum_leaves(jax.tree.map(squared_norms, gradients, owners))
  # The square root has no derivative at 0, and a gradient of 0 needs no clip.
  norm = jnp.sqrt(jnp.where(total > 0, total, 1.0))
  factor = jnp.minimum(1.0, max_norm / norm)
  return jax.tree.map(
    lambda g, ids: g * _broadcast(factor, ids, g.ndim), gradients, owners
  )


def may_improve(
  best: state_lib.Best,
  epoch: chex.Array,
  run_params: state_lib.RunParams,
  patience: int | None,
) -> chex.Array:
  """Returns `[U]` whether a model may still improve.

  With a `patience`, a model that has not improved for more epochs than that may
  not; with a last epoch given, it may in that epoch only.
  """
  if run_params.last_epoch is not None:
    return epoch == run_params.last_epoch
  if patience is None:
    return jnp.ones(best.epoch.shape, bool)
  return epoch - jnp.maximum(best.epoch, 0) <= patience


def keep_best(
  best: state_lib.Best,
  loss: chex.Array,
  epoch: chex.Array,
  params: chex.ArrayTree,
  unseen_prior: state_lib.UnseenPrior | None,
  owners: chex.ArrayTree,
  may_improve: chex.Array,
) -> state_lib.Best:
  """Keeps the better of the best epoch and this one, for each model.

  `loss` is the `[U]` validation loss of this epoch. A model for which
  `may_improve` `[U]` is False is kept as it is.
  """
  improved = (loss < best.loss) & may_improve
  return best._replace(
    loss=jnp.where(improved, loss, best.loss),
    epoch=jnp.where(improved, epoch, best.epoch),
    params=select(improved, params, best.params, owners),
    unseen_prior=jax.tree.map(
      lambda new, old: jnp.where(improved[0], new, old),
      unseen_prior,
      best.unseen_prior,
    ),
  )


def _broadcast(per_model, ids, ndim):
  """Spreads values `[U]` over the entries of a leaf of `ndim` axes."""
  return per_model[ids].reshape(ids.shape + (1,) * (ndim - ids.ndim))
