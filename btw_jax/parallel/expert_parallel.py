"""Parameters of experts that are sharded over devices.

Of E experts each of P devices holds E / P, with all that belongs to them: their
gradients, their part of the optimizer's state and of the best epoch.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from btw_jax.parallel import device_map

_P = jax.sharding.PartitionSpec


def axes_of_params(is_expert: chex.ArrayTree, num_before: int) -> Any:
  """Returns a spec for each parameter: sharded by experts, or replicated.

  `is_expert` is a pytree of bool like the parameters; `num_before` counts the
  axes of runs before the axis of experts.
  """
  sharded = _P(*[None] * num_before, device_map.EXPERTS)
  return jax.tree.map(lambda expert: sharded if expert else _P(), is_expert)


def axes_of_optimizer(
  optimizer: optax.GradientTransformation, state: chex.ArrayTree, params: Any
) -> Any:
  """Returns specs of the optimizer's state, given the specs of parameters."""
  return optax.tree_map_params(
    optimizer,
    lambda _, axis: axis,
    state,
    params,
    transform_non_params=lambda _: _P(),
  )


def local_experts(tree: chex.ArrayTree, axes: Any) -> chex.ArrayTree:
  """Cuts this device's experts out of full parameters, in a mapped function.

  `axes` is a prefix of the tree, as `device_map.parallelise` takes it.
  """

  def cut_subtree(axis, subtree):
    if not isinstance(axis, _P) or device_map.EXPERTS not in axis:
      return subtree
    position = tuple(axis).index(device_map.EXPERTS)
    index = jax.lax.axis_index(device_map.EXPERTS)
    count = jax.lax.axis_size(device_map.EXPERTS)

    def cut(x):
      size = x.shape[position] // count
      return jax.lax.dynamic_slice_in_dim(x, index * size, size, position)

    return jax.tree.map(cut, subtree)

  return device_map.map_leaves(cut_subtree, axes, tree)


def sum_gradients(
  gradients: chex.ArrayTree,
  sums: chex.ArrayTree,
  is_expert: chex.ArrayTree,
  axis_name: tuple[str, str],
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
  """Adds up gradients over the devices that hold the same parameters.

  A gradient of any expert that is not finite makes those of all experts NaN, so
  that every device skips the same steps. `sums` are added up over all devices
  with them; `is_expert` is a pytree of bool like the gradients.
  """
  experts, others = _partition(gradients, is_expert)
  others, sums = device_map.psum_flat((others, sums), axis_name)
  experts = device_map.psum_flat(experts, device_map.AXIS)
  not_finite = [jnp.any(~jnp.isfinite(x)) for x in jax.tree.leaves(experts)]
  not_finite = jax.lax.pmax(jnp.any(jnp.array(not_finite)), device_map.EXPERTS)
  experts = jax.tree.map(lambda x: jnp.where(not_finite, jnp.nan, x), experts)
  return _merge(experts, others), sums


def sum_leaves(values: chex.ArrayTree, is_expert: chex.ArrayTree) -> chex.Array:
  """Adds up all leaves of one shape, those of experts over all devices."""
  experts, others = (
    sum(jax.tree.leaves(part)) for part in _partition(values, is_expert)
  )
  return jax.lax.psum(experts, device_map.EXPERTS) + others


def _partition(tree, is_expert):
  """Splits leaves into those of experts and the others, None elsewhere."""
  return [
    jax.tree.map(
      lambda x, expert: x if expert == wanted else None, tree, is_expert
    )
    for wanted in (True, False)
  ]


def _merge(experts, others):
  return jax.tree.map(
    lambda a, b: b if a is None else a,
    experts,
    others,
    is_leaf=lambda x: x is None,
  )
