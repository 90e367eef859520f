"""Mapping a program over devices.

Everything is written against the axis name `AXIS` and sees its own share of
the examples; parameters are replicated. `jax.pmap` maps it over the local
devices, one device included, and `jax.vmap(axis_name=AXIS)` can stand in.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

AXIS = "devices"


def parallelise(
  function: Callable[..., chex.ArrayTree], *, donate_first: bool = False
) -> Callable[..., chex.ArrayTree]:
  """Runs `function` on every local device with the same, whole arguments.

  The function asks `jax.lax.axis_index(AXIS)` which share is its own, and must
  return the same values on every device.

  Args:
    function: of one or more positional arguments.
    donate_first: whether the first argument's memory may be reused.

  Returns:
    A function of the same arguments, compiled.
  """
  devices = np.arange(jax.local_device_count())
  mapped = jax.pmap(
    lambda _, first, rest: function(first, *rest),
    axis_name=AXIS,
    in_axes=(0, None, None),
    out_axes=None,
    donate_argnums=(1,) if donate_first else (),
  )
  return lambda first, *rest: mapped(devices, first, rest)


def my_share(indices: chex.Array) -> chex.Array:
  """This device's part of a batch of indices.

  Args:
    indices: `[B]`, B a multiple of the number of devices.

  Returns:
    `[B / devices]`.
  """
  size = indices.shape[0] // jax.lax.axis_size(AXIS)
  start = jax.lax.axis_index(AXIS) * size
  return jax.lax.dynamic_slice_in_dim(indices, start, size)


def map_examples(
  function: Callable[[chex.ArrayTree], chex.ArrayTree],
  examples: chex.ArrayTree,
) -> chex.ArrayTree:
  """Applies `function` to all examples, each device to its share.

  Args:
    function: of a pytree of `[n, ...]`, returning a pytree of `[n, ...]`.
    examples: pytree of `[N, ...]`.

  Returns:
    Pytree of `[N, ...]`, the same on every device.
  """
  num_devices = jax.lax.axis_size(AXIS)
  if num_devices == 1:
    return function(examples)
  num_examples = jax.tree.leaves(examples)[0].shape[0]
  padded = -(-num_examples // num_devices) * num_devices
  # Rows past the end repeat the last one and are cut off again.
  rows = my_share(jnp.minimum(jnp.arange(padded), num_examples - 1))
  mine = function(jax.tree.map(lambda x: x[rows], examples))
  gathered = jax.lax.all_gather(mine, AXIS, tiled=True)
  return jax.tree.map(lambda x: x[:num_examples], gathered)
