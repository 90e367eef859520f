"""Mapping a program over devices, of one process or of many.

Everything is written against an axis name and sees its own share of the
examples. `jax.pmap` or `jax.shard_map` maps it over all devices of all
processes, one device included, and `jax.vmap(axis_name=AXIS)` can stand in.

What is spread over devices has a leading axis of them, `[D, ...]`; experts may
be shared out over a second axis of the mesh; everything else is the same on
each device. Which example is on which device is decided by `data.plans.SlotLayout`,
not here.
"""

from collections.abc import Callable, Sequence
import copy
import ctypes
import dataclasses
from typing import Any

import chex
import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.parallel import hosts

AXIS, EXPERTS = hosts.AXIS, "experts"
MAPPINGS = ("pmap", "shard_map")

_P = jax.sharding.PartitionSpec
# Of an argument or a result: spread over devices, the same on each, or by a
# `jax.sharding.PartitionSpec` that names `EXPERTS`.
SHARDED, REPLICATED = 0, None


@dataclasses.dataclass(frozen=True)
class Parallelism:
  """How a program is mapped over devices; static.

  Attributes:
    mapping: a name of `MAPPINGS`.
    experts: devices, side by side, that share one set of experts; more than one
      need "shard_map".
  """

  mapping: str = "pmap"
  experts: int = 1

  @property
  def axis_name(self) -> str | tuple[str, str]:
    """Of the axes that examples are spread over."""
    return AXIS if self.experts == 1 else (AXIS, EXPERTS)

  def mesh(self) -> jax.sharding.Mesh:
    """All devices, those of a process side by side, as `jax.pmap` has them."""
    devices = np.array(hosts.devices())
    if self.experts == 1:
      return jax.sharding.Mesh(devices, (AXIS,))
    return jax.sharding.Mesh(devices.reshape(-1, self.experts), (AXIS, EXPERTS))

  def shardings(self, axes: Any, position: int = 0) -> Any:
    """Where arrays are.

    Args:
      axes: pytree of `SHARDED`, `REPLICATED` and specs.
      position: of the axis that is spread, where it is not the leading one.

    Returns:
      A pytree of `jax.sharding.NamedSharding`.
    """
    mesh, spread = self.mesh(), _P(*[None] * position, self.axis_name)

    def sharding(axis):
      spec = {REPLICATED: _P(), SHARDED: spread}.get(axis, axis)
      return jax.sharding.NamedSharding(mesh, spec)

    return map_leaves(sharding, axes)


# What is spread is where it is, whatever the mesh is called.
_PLAIN = Parallelism()


def parallelise(
  function: Callable[..., chex.ArrayTree],
  in_axes: Sequence[Any],
  out_axes: Any = REPLICATED,
  *,
  how: Parallelism = _PLAIN,
  donate_first: bool = False,
) -> "Parallel":
  """Runs a function on every device of every process.

  Each process must call it in the same order, with the same arguments where
  they are not spread. The function must return the same values on every device
  where its results are not spread.

  Args:
    function: of one or more positional arguments; it sees its own part of what
      is spread, without the leading axis.
    in_axes: of each argument, `SHARDED`, `REPLICATED`, a spec or a pytree of those
      that is a prefix of it.
    out_axes: of the result, likewise.
    how: over which axes, and by what.
    donate_first: whether the first argument's memory may be reused.

  Returns:
    A function of the same arguments, compiled; spread results are arrays of all
    processes, of which each holds its part.
  """
  # Mapped over too, since every argument may be the same on each device.
  in_axes = (SHARDED, *in_axes)
  donated = (1,) if donate_first else ()

  def numbered(_, *args):
    return function(*args)

  if how.mapping == "pmap":
    mapped = jax.pmap(
      numbered, AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donated
    )
  else:
    mapped = _shard_map(numbered, in_axes, out_axes, how, donated)
  return Parallel(mapped, in_axes[1:], out_axes, how)


class Parallel:
  """A function on every device of every process, see `parallelise`."""

  def __init__(
    self,
    mapped: Callable[..., chex.ArrayTree],
    in_axes: Sequence[Any],
    out_axes: Any,
    how: Parallelism,
  ):
    """Wraps a mapped function.

    Args:
      mapped: takes the number of each device before the arguments.
      in_axes: of each argument.
      out_axes: of the result.
      how: it is mapped.
    """
    self._mapped, self._how = mapped, how
    self._in_axes, self._out_axes = in_axes, out_axes
    self._number = hosts.shard(np.arange(jax.local_device_count()))
    self._several = jax.process_count() > 1

  def __call__(self, *args: chex.ArrayTree) -> chex.ArrayTree:
    """Calls it; compiles it for arguments of new shapes."""
    results = self._mapped(self._number, *self._given(args))
    if self._several and self._how.mapping == "pmap":
      results = _of_all_processes(results, self._out_axes)
    return results

  def compile(
    self, *args: chex.ArrayTree, run_once: bool = False
  ) -> "Parallel":
    """Compiles it, before what it needs to run is taken.

    Args:
      *args: as those that it will be called with.
      run_once: whether it is not worth the time to make it fast.

    Returns:
      The same function, for arguments of these shapes alone.
    """
    lowered = self._mapped.lower(self._number, *self._given(args))
    made = copy.copy(self)
    options = None
    if run_once and jax.default_backend() == "cpu":
      options = {"xla_backend_optimization_level": 0}
    made._mapped = lowered.compile(options)
    _give_back()
    return made

  def num_bytes(self) -> int:
    """Memory of a device that a compiled one needs, what it is given included.

    Returns:
      Bytes, as XLA has planned them.
    """
    plan = self._mapped.memory_analysis()
    return (
      plan.argument_size_in_bytes
      + plan.temp_size_in_bytes
      + plan.output_size_in_bytes
      - plan.alias_size_in_bytes
    )

  def _given(self, args):
    if not self._several:
      return args
    return _everywhere(args, self._in_axes, self._how)


def _give_back():
  """Gives the system the memory that compiling took, hundreds of megabytes.

  The C library keeps it otherwise, beside what a program takes when it runs.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)


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
    axes: a prefix of it of `SHARDED`, `REPLICATED` and specs.
    spread: of what is spread.
    same: of what has no axis of devices.

  Returns:
    A pytree like `tree`.
  """

  def of(axis, part):
    return jax.tree.map(spread if axis is SHARDED else same, part)

  return map_leaves(of, axes, tree)


def map_leaves(function: Callable[..., Any], axes: Any, *rest: Any) -> Any:
  """`jax.tree.map` that takes `REPLICATED`, which is None, for a leaf."""
  return jax.tree.map(function, axes, *rest, is_leaf=lambda x: x is REPLICATED)


def _shard_map(function, in_axes, out_axes, how, donated):
  """What `jax.pmap` does, by `jax.shard_map`."""

  def with_axis(*args):
    own = map_axes(args, in_axes, spread=lambda x: jnp.squeeze(x, 0))
    results = function(*own)
    return map_axes(results, out_axes, spread=lambda x: jnp.expand_dims(x, 0))

  def specs(axes):
    return jax.tree.map(lambda sharding: sharding.spec, how.shardings(axes))

  return jax.jit(
    jax.shard_map(
      with_axis,
      mesh=how.mesh(),
      in_specs=specs(in_axes),
      out_specs=specs(out_axes),
      # Gradients are those of the device's own share, as under `pmap`.
      check_vma=False,
    ),
    donate_argnums=donated,
  )


def my_slots(
  num_slots: int, axis_name: str | tuple[str, str] = AXIS
) -> chex.Array:
  """The slots of a batch that are this device's.

  Args:
    num_slots: of all devices, a multiple of their number.
    axis_name: of the axes that examples are spread over.

  Returns:
    `[num_slots / D]` numbers.
  """
  return types.slots(num_slots // jax.lax.axis_size(axis_name), axis_name)


def total(
  tree: chex.ArrayTree, axis_name: str | tuple[str, str] = AXIS
) -> chex.ArrayTree:
  """Adds up what each device has, in one message.

  Many small messages between machines take as many times as long.

  Args:
    tree: pytree of arrays of one dtype.
    axis_name: of the devices.

  Returns:
    The sums, on every device.
  """
  if jax.lax.axis_size(axis_name) == 1:
    return jax.lax.psum(tree, axis_name)
  flat, restore = flatten_util.ravel_pytree(tree)
  return restore(jax.lax.psum(flat, axis_name))


def _everywhere(args, in_axes, how):
  """Arguments as arrays of the devices of all processes."""

  def of_leaf(x, axis, sharding):
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return x
    if axis is SHARDED:
      return hosts.shard(x)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at])

  def of(axis, sharding, part):
    return jax.tree.map(lambda x: of_leaf(x, axis, sharding), part)

  return map_leaves(of, in_axes, how.shardings(in_axes), args)


def _of_all_processes(results, out_axes):
  """What `jax.pmap` gives one process as parts of arrays of all."""

  def of(axis, sharding, part):
    def joined(x):
      shape = x.shape
      if axis is SHARDED:
        shape = (jax.device_count(), *shape[1:])
      return jax.make_array_from_single_device_arrays(
        shape, sharding, [s.data for s in x.addressable_shards]
      )

    return jax.tree.map(joined, part)

  return map_leaves(of, out_axes, _PLAIN.shardings(out_axes), results)
