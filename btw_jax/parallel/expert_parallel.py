"""Parameters of experts that are shared out over devices.

Of E experts each of P devices has E / P, with all that belongs to them: their
gradients, their part of the optimizer's state, their best epoch.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from btw_jax.parallel import device_map

_P = jax.sharding.PartitionSpec


def axes_of_params(of_experts: chex.ArrayTree, num_before: int) -> Any:
  """Which axis of parameters is that of the experts.

  Args:
    of_experts: pytree of bool like the parameters, from a network.
    num_before: axes before it, of runs.

  Returns:
    A pytree of specs, for `data_parallel`.
  """
  shared = _P(*[None] * num_before, device_map.EXPERTS)
  return jax.tree.map(lambda own: shared if own else _P(), of_experts)


def axes_of_optimizer(
  optimizer: optax.GradientTransformation, state: chex.ArrayTree, params: Any
) -> Any:
  """The same of an optimizer's state.

  Args:
    optimizer: whose it is.
    state: of it.
    params: axes of the parameters.

  Returns:
    A pytree of specs.
  """
  return optax.tree_map_params(
    optimizer,
    lambda _, axis: axis,
    state,
    params,
    transform_non_params=lambda _: _P(),
  )


def own_part(tree: chex.ArrayTree, axes: Any) -> chex.ArrayTree:
  """What this device has of parameters that are whole.

  Args:
    tree: pytree of arrays.
    axes: a prefix of it, as of `device_map.parallelise`.

  Returns:
    A pytree like `tree`.
  """

  def of(axis, part):
    if not isinstance(axis, _P) or device_map.EXPERTS not in axis:
      return part
    position = tuple(axis).index(device_map.EXPERTS)
    number = jax.lax.axis_index(device_map.EXPERTS)
    count = jax.lax.axis_size(device_map.EXPERTS)

    def cut(x):
      size = x.shape[position] // count
      return jax.lax.dynamic_slice_in_dim(x, number * size, size, position)

    return jax.tree.map(cut, part)

  return device_map.map_leaves(of, axes, tree)


def total(
  gradients: chex.ArrayTree,
  sums: chex.ArrayTree,
  of_experts: chex.ArrayTree,
  axis_name: tuple[str, str],
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
  """Adds up over devices; of experts, over those that have the same ones.

  A gradient of any expert that is not finite becomes one of all, so that every
  device passes over the same steps.

  Args:
    gradients: of the parameters that the device has.
    sums: pytree of arrays, to be added up with them.
    of_experts: pytree of bool like `gradients`.
    axis_name: of all devices.

  Returns:
    Both, added up.
  """
  own, others = _divide(gradients, of_experts)
  others, sums = device_map.total((others, sums), axis_name)
  own = device_map.total(own, device_map.AXIS)
  unsound = [jnp.any(~jnp.isfinite(x)) for x in jax.tree.leaves(own)]
  unsound = jax.lax.pmax(jnp.any(jnp.array(unsound)), device_map.EXPERTS)
  own = jax.tree.map(lambda x: jnp.where(unsound, jnp.nan, x), own)
  return _join(own, others), sums


def add_up(values: chex.ArrayTree, of_experts: chex.ArrayTree) -> chex.Array:
  """The sum of all leaves, those of experts over all of them.

  Args:
    values: pytree of arrays of one shape.
    of_experts: pytree of bool like `values`.

  Returns:
    One array, the same on every device.
  """
  own, others = (
    sum(jax.tree.leaves(part)) for part in _divide(values, of_experts)
  )
  return jax.lax.psum(own, device_map.EXPERTS) + others


def _divide(tree, of_experts):
  """Leaves of experts, and the others; None in place of what is missing."""
  return [
    jax.tree.map(lambda x, own: x if own == wanted else None, tree, of_experts)
    for wanted in (True, False)
  ]


def _join(own, others):
  return jax.tree.map(
    lambda a, b: b if a is None else a, own, others, is_leaf=lambda x: x is None
  )
