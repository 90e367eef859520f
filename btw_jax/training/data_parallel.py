"""Mapping a program over devices, of one process or of many.

Everything is written against the axis name `AXIS` and sees its own share of the
examples. `jax.pmap` or `jax.shard_map` maps it over all devices of all
processes, one device included, and `jax.vmap(axis_name=AXIS)` can stand in.

What is spread over devices has a leading axis of them, `[D, ...]`; everything
else is the same on each. Which example is on which device is decided by
`data.plans.Layout`, not here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
from jax import flatten_util
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

AXIS = "devices"
PARALLELISMS = ("pmap", "shard_map")

# Of an argument or a result: spread over devices, or the same on each.
SPREAD, SAME = 0, None

_P = jax.sharding.PartitionSpec
_SPREAD_SPEC, _SAME_SPEC = _P(AXIS), _P()


def parallelise(
  function: Callable[..., chex.ArrayTree],
  in_axes: Sequence[Any],
  out_axes: Any = SAME,
  *,
  how: str = "pmap",
  donate_first: bool = False,
) -> Callable[..., chex.ArrayTree]:
  """Runs a function on every device of every process.

  Each process must call it in the same order, with the same arguments where
  they are not spread. The function must return the same values on every device
  where its results are not spread.

  Args:
    function: of one or more positional arguments; it sees its own part of what
      is spread, without the leading axis.
    in_axes: of each argument, `SPREAD`, `SAME` or a pytree of those that is a
      prefix of it.
    out_axes: of the result, likewise.
    how: a name of `PARALLELISMS`.
    donate_first: whether the first argument's memory may be reused.

  Returns:
    A function of the same arguments, compiled; spread results are arrays of all
    processes, of which each holds its part.
  """
  # Mapped over too, since every argument may be the same on each device.
  in_axes = (SPREAD, *in_axes)
  donated = (1,) if donate_first else ()
  several = jax.process_count() > 1

  def numbered(_, *args):
    return function(*args)

  if how == "pmap":
    mapped = jax.pmap(
      numbered, AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donated
    )
  else:
    mapped = _shard_map(numbered, in_axes, out_axes, donated)
  number = put(np.arange(jax.local_device_count()))

  def run(*args):
    if several:
      args = _everywhere(args, in_axes[1:])
    results = mapped(number, *args)
    if several and how == "pmap":
      results = _of_all_processes(results, out_axes)
    return results

  return run


def map_axes(
  tree: chex.ArrayTree,
  axes: Any,
  *,
  spread: Callable[[chex.Array], chex.Array] = lambda x: x,
  same: Callable[[chex.Array], chex.Array] = lambda x: x,
) -> chex.ArrayTree:
  """One function of the leaves that are spread, another of the others.

  Args:
    tree: pytree of arrays.
    axes: a prefix of it of `SPREAD` and `SAME`.
    spread: of what is spread.
    same: of what is the same on each device.

  Returns:
    A pytree like `tree`.
  """

  def of(axis, part):
    return jax.tree.map(same if axis is SAME else spread, part)

  return jax.tree.map(of, axes, tree, is_leaf=lambda x: x is SAME)


def _shard_map(function, in_axes, out_axes, donated):
  """What `jax.pmap` does, by `jax.shard_map`."""

  def with_axis(*args):
    own = map_axes(args, in_axes, spread=lambda x: jnp.squeeze(x, 0))
    results = function(*own)
    return map_axes(results, out_axes, spread=lambda x: jnp.expand_dims(x, 0))

  return jax.jit(
    jax.shard_map(
      with_axis,
      mesh=mesh(),
      in_specs=_specs(in_axes),
      out_specs=_specs(out_axes),
      # Gradients are those of the device's own share, as under `pmap`.
      check_vma=False,
    ),
    donate_argnums=donated,
  )


def my_slots(num_slots: int) -> chex.Array:
  """The slots of a batch that are this device's.

  Args:
    num_slots: of all devices, a multiple of their number.

  Returns:
    `[num_slots / D]` numbers.
  """
  size = num_slots // jax.lax.axis_size(AXIS)
  return jax.lax.axis_index(AXIS) * size + jnp.arange(size)


def total(tree: chex.ArrayTree) -> chex.ArrayTree:
  """Adds up what each device has, in one message.

  Many small messages between machines take as many times as long.

  Args:
    tree: pytree of arrays of one dtype.

  Returns:
    The sums, on every device.
  """
  if jax.lax.axis_size(AXIS) == 1:
    return jax.lax.psum(tree, AXIS)
  flat, restore = flatten_util.ravel_pytree(tree)
  return restore(jax.lax.psum(flat, AXIS))


def mesh() -> jax.sharding.Mesh:
  """All devices, those of a process side by side, as `jax.pmap` orders them."""
  devices = [
    device
    for process in range(jax.process_count())
    for device in jax.local_devices(process)
  ]
  return jax.sharding.Mesh(np.array(devices), (AXIS,))


def shardings(axes: Any, position: int = 0) -> Any:
  """Where arrays are.

  Args:
    axes: pytree of `SPREAD` and `SAME`.
    position: of the axis that is spread, where it is not the leading one.

  Returns:
    A pytree of `jax.sharding.NamedSharding`.
  """
  whole, spread = mesh(), _P(*[None] * position, AXIS)

  def sharding(axis):
    spec = _SAME_SPEC if axis is SAME else spread
    return jax.sharding.NamedSharding(whole, spec)

  return jax.tree.map(sharding, axes, is_leaf=lambda x: x is SAME)


def put(own: chex.ArrayTree) -> chex.ArrayTree:
  """Puts each process's part of what is spread on its devices.

  Args:
    own: pytree of `[local devices, ...]`.

  Returns:
    Pytree of `[D, ...]`.
  """
  sharding = shardings(SPREAD)

  def put_one(x):
    shape = (jax.device_count(), *x.shape[1:])
    return jax.make_array_from_process_local_data(
      sharding, np.asarray(x), shape
    )

  return jax.tree.map(put_one, own)


def local(spread: chex.ArrayTree) -> chex.ArrayTree:
  """What a process holds of spread arrays.

  Args:
    spread: pytree of `[D, ...]`.

  Returns:
    Pytree of NumPy arrays `[local devices, ...]`.
  """

  def local_one(x):
    shards = sorted(x.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])

  return jax.tree.map(local_one, spread)


def gather(own: chex.ArrayTree) -> chex.ArrayTree:
  """What all processes hold together.

  Args:
    own: pytree of `[local devices, ...]`, of each process.

  Returns:
    Pytree of NumPy arrays `[D, ...]`.
  """
  if jax.process_count() == 1:
    return own
  return jax.tree.map(
    lambda x: multihost_utils.process_allgather(x, tiled=True), own
  )


def anywhere(flags: Sequence[bool]) -> list[bool]:
  """Whether each of some things is so in any process.

  Args:
    flags: whether they are in this one.

  Returns:
    As many answers, the same in all.
  """
  return gather(np.array(flags, bool)[None]).any(axis=0).tolist()


def wait(what: str) -> None:
  """Until all processes have come so far.

  Args:
    what: a name of the place, the same in all.
  """
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def _specs(axes):
  return jax.tree.map(
    lambda axis: _SAME_SPEC if axis is SAME else _SPREAD_SPEC,
    axes,
    is_leaf=lambda x: x is SAME,
  )


def _everywhere(args, in_axes):
  """Arguments as arrays of the devices of all processes."""
  sharding = jax.sharding.NamedSharding(mesh(), _SAME_SPEC)

  def whole(x):
    return isinstance(x, jax.Array) and not x.is_fully_addressable

  def same(x):
    if whole(x):
      return x
    return jax.make_array_from_process_local_data(
      sharding, np.asarray(x), np.shape(x)
    )

  return map_axes(
    args, in_axes, same=same, spread=lambda x: x if whole(x) else put(x)
  )


def _of_all_processes(results, out_axes):
  """Arrays of the devices of one process as parts of arrays of all."""
  whole = mesh()

  def joined(x, spec, shape):
    sharding = jax.sharding.NamedSharding(whole, spec)
    return jax.make_array_from_single_device_arrays(
      shape, sharding, [s.data for s in x.addressable_shards]
    )

  return map_axes(
    results,
    out_axes,
    spread=lambda x: joined(x, _SPREAD_SPEC, (whole.size, *x.shape[1:])),
    same=lambda x: joined(x, _SAME_SPEC, x.shape),
  )
