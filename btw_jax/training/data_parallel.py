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
  *,
  at_once: int,
) -> chex.ArrayTree:
  """Applies `function` to all examples, each device to its share.

  Args:
    function: of a pytree of `[n, ...]`, returning a pytree of `[n, ...]`.
    examples: pytree of `[N, ...]`.
    at_once: the largest n, static; bounds the memory that `function` takes.

  Returns:
    Pytree of `[N, ...]`, the same on every device.
  """
  num_devices = jax.lax.axis_size(AXIS)
  if num_devices == 1:
    return _in_turns(function, examples, at_once)
  num_examples = jax.tree.leaves(examples)[0].shape[0]
  padded = -(-num_examples // num_devices) * num_devices
  # Rows past the end repeat the last one and are cut off again.
  rows = my_share(jnp.minimum(jnp.arange(padded), num_examples - 1))
  mine = jax.tree.map(lambda x: x[rows], examples)
  mine = _in_turns(function, mine, at_once)
  gathered = jax.lax.all_gather(mine, AXIS, tiled=True)
  return jax.tree.map(lambda x: x[:num_examples], gathered)


def _in_turns(function, examples, at_once):
  """`function` of parts of equal size, one after the other."""
  num_examples = jax.tree.leaves(examples)[0].shape[0]
  num_parts = -(-num_examples // at_once)
  if num_parts == 1:
    return function(examples)
  size = -(-num_examples // num_parts)
  rows = jnp.minimum(jnp.arange(num_parts * size), num_examples - 1)
  parts = jax.tree.map(
    lambda x: x[rows].reshape(num_parts, size, *x.shape[1:]), examples
  )
  found = jax.lax.map(function, parts)
  return jax.tree.map(
    lambda x: x.reshape(-1, *x.shape[2:])[:num_examples], found
  )
