"""Models that train side by side in one program, as pytrees of all of them.

`owners`, from a network's `models`, is a pytree like its parameters: for every
entry of a leaf's leading axis the model, of U, that it belongs to; or a scalar
where the whole leaf belongs to one.
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
  """Of each model one version or the other.

  Args:
    mask: `[U]` bool, the models to take from `new`.
    new: parameters of all models.
    old: likewise.
    owners: whose each part is.

  Returns:
    Parameters of all models.
  """
  return jax.tree.map(
    lambda a, b, ids: jnp.where(_spread(mask, ids, a.ndim), a, b),
    new,
    old,
    owners,
  )


def add_up(values: chex.ArrayTree) -> chex.Array:
  """The sum of a pytree's leaves, arrays of one shape."""
  return sum(jax.tree.leaves(values))


def clip(
  gradients: chex.ArrayTree,
  max_norm: float,
  owners: chex.ArrayTree,
  num_models: int,
  add_up: Callable[[chex.ArrayTree], chex.Array] = add_up,
) -> chex.ArrayTree:
  """Shortens the gradient of each model to a norm, if it is longer.

  Args:
    gradients: of all models.
    max_norm: Euclidean.
    owners: whose each part is.
    num_models: U.
    add_up: the sum of a pytree's leaves; of all devices, where each has a part.

  Returns:
    Gradients of all models.
  """

  def squares(g, ids):
    rest = tuple(range(ids.ndim, g.ndim))
    return jnp.zeros(num_models).at[ids].add(jnp.sum(g**2, axis=rest))

  total = add_up(jax.tree.map(squares, gradients, owners))
  # A gradient of 0 has no direction to lose.
  norm = jnp.sqrt(jnp.where(total > 0, total, 1.0))
  factor = jnp.minimum(1.0, max_norm / norm)
  return jax.tree.map(
    lambda g, ids: g * _spread(factor, ids, g.ndim), gradients, owners
  )


def keep_best(
  best: state_lib.Best,
  loss: chex.Array,
  epoch: chex.Array,
  params: chex.ArrayTree,
  guide: state_lib.UnseenPrior | None,
  owners: chex.ArrayTree,
  patience: int | None,
) -> state_lib.Best:
  """The better of two epochs, for each model.

  Args:
    best: so far.
    loss: `[U]` validation loss of this epoch.
    epoch: its number.
    params: parameters after it.
    guide: how unseen examples were weighed.
    owners: whose each part of the parameters is.
    patience: epochs without a better one after which a model stays as it was;
      None waits for ever.

  Returns:
    The best epoch.
  """
  improved = loss < best.loss
  if patience is not None:
    improved &= epoch - jnp.maximum(best.epoch, 0) <= patience
  return state_lib.Best(
    loss=jnp.where(improved, loss, best.loss),
    epoch=jnp.where(improved, epoch, best.epoch),
    params=select(improved, params, best.params, owners),
    guide=jax.tree.map(
      lambda new, old: jnp.where(improved[0], new, old), guide, best.guide
    ),
  )


def _spread(per_model, ids, ndim):
  """Values `[U]` to what broadcasts against a leaf."""
  return per_model[ids].reshape(ids.shape + (1,) * (ndim - ids.ndim))
