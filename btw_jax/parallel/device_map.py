"""The mapping of a program over devices, of one process or of many.

A function is written against an axis name and sees its own shard of the
examples. `jax.pmap` or `jax.shard_map` maps it over all devices of all
processes, one device included; `jax.vmap(axis_name=AXIS)` does so in tests.

Sharded arrays have a leading axis of devices, `[D, ...]`. Experts may be
sharded over a second axis of the mesh. Everything else is replicated.
`data.plans.SlotLayout` decides which example is on which device.
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
# The axes of an argument or a result: sharded over devices, replicated on each,
# or a `jax.sharding.PartitionSpec` that names `EXPERTS`.
SHARDED, REPLICATED = 0, None


@dataclasses.dataclass(frozen=True)
class Parallelism:
  """The way a program is mapped over devices; static.

  Attributes:
    mapping: a name of `MAPPINGS`.
    experts: number of adjacent devices that share one set of experts; more
      than one needs "shard_map".
  """

  mapping: str = "pmap"
  experts: int = 1

  @property
  def axis_name(self) -> str | tuple[str, str]:
    """The name of the axes that examples are sharded over."""
    return AXIS if self.experts == 1 else (AXIS, EXPERTS)

  def mesh(self) -> jax.sharding.Mesh:
    """Returns a mesh of all devices, in the order of `jax.pmap`."""
    devices = np.array(hosts.devices())
    if self.experts == 1:
      return jax.sharding.Mesh(devices, (AXIS,))
    return jax.sharding.Mesh(devices.reshape(-1, self.experts), (AXIS, EXPERTS))

  def shardings(self, axes: Any, position: int = 0) -> Any:
    """Returns the `jax.sharding.NamedSharding` of each array.

    `axes` is a pytree of `SHARDED`, `REPLICATED` and specs; `position` is that
    of the sharded axis, where it is not the leading one.
    """
    mesh, sharded = self.mesh(), _P(*[None] * position, self.axis_name)

    def sharding(axis):
      spec = {REPLICATED: _P(), SHARDED: sharded}.get(axis, axis)
      return jax.sharding.NamedSharding(mesh, spec)

    return map_leaves(sharding, axes)


_DEFAULT = Parallelism()


def parallelise(
  function: Callable[..., chex.ArrayTree],
  in_axes: Sequence[Any],
  out_axes: Any = REPLICATED,
  *,
  how: Parallelism = _DEFAULT,
  donate_first: bool = False,
) -> "Parallel":
  """Maps a function over every device of every process, and compiles it.

  Every process must call the result in the same order, with the same replicated
  arguments. The function must return the same values on every device where its
  results are replicated.

  Args:
    function: takes positional arguments; it sees its own shard of what is
      sharded, without the leading axis.
    in_axes: for each argument `SHARDED`, `REPLICATED`, a spec or a pytree of
      those that is a prefix of it.
    out_axes: for the result, as for an argument.
    how: over which axes, and by which mapping.
    donate_first: whether the first argument's memory may be reused.

  Returns:
    A function of the same arguments; sharded results are arrays of all
    processes, of which each holds its shards.
  """
  # The device's number is mapped over too: there may be no sharded argument.
  in_axes = (SHARDED, *in_axes)
  donated = (1,) if donate_first else ()

  def without_number(_, *args):
    return function(*args)

  if how.mapping == "pmap":
    mapped = jax.pmap(
      without_number,
      AXIS,
      in_axes=in_axes,
      out_axes=out_axes,
      donate_argnums=donated,
    )
  else:
    mapped = _shard_map(without_number, in_axes, out_axes, how, donated)
  return Parallel(mapped, in_axes[1:], out_axes, how)


class Parallel:
  """A function mapped over every device of every process by `parallelise`."""

  def __init__(
    self,
    mapped: Callable[..., chex.ArrayTree],
    in_axes: Sequence[Any],
    out_axes: Any,
    how: Parallelism,
  ):
    """Wraps a mapped function that takes the device's number first."""
    self._mapped, self._how = mapped, how
    self._in_axes, self._out_axes = in_axes, out_axes
    self._number = hosts.shard(np.arange(jax.local_device_count()))
    self._many_processes = jax.process_count() > 1

  def __call__(self, *args: chex.ArrayTree) -> chex.ArrayTree:
    """Calls the function; compiles it for arguments of new shapes."""
    results = self._mapped(self._number, *self._to_global(args))
    if self._many_processes and self._how.mapping == "pmap":
      results = _join_processes(results, self._out_axes)
    return results

  def compile(
    self,
    *args: chex.ArrayTree,
    run_once: bool = False,
    one_core: bool = False,
  ) -> "Parallel":
    """Compiles the function for arguments of these shapes alone.

    `run_once` compiles fast rather than to run fast. `one_core` is for calls
    that share the cores of a CPU among them.
    """
    lowered = self._mapped.lower(self._number, *self._to_global(args))
    compiled = copy.copy(self)
    options = {}
    if jax.default_backend() == "cpu":
      if run_once:
        options["xla_backend_optimization_level"] = 0
      if one_core:
        options["xla_cpu_multi_thread_eigen"] = False
    compiled._mapped = lowered.compile(options or None)
    _trim_memory()
    return compiled

  def num_bytes(self) -> int:
    """Returns the memory of a device that a compiled call needs, in bytes.

    XLA has planned it; the arguments are included.
    """
    plan = self._mapped.memory_analysis()
    return (
      plan.argument_size_in_bytes
      + plan.temp_size_in_bytes
      + plan.output_size_in_bytes
      - plan.alias_size_in_bytes
    )

  def _to_global(self, args):
    """Makes arguments arrays of the devices of all processes."""
    if not self._many_processes:
      return args
    return _make_global(args, self._in_axes, self._how)


def _trim_memory():
  """Returns the memory that compiling took to the system.

  The C library otherwise keeps hundreds of megabytes beside the memory that the
  program itself needs.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)


def map_axes(
  tree: chex.ArrayTree,
  axes: Any,
  *,
  sharded: Callable[[chex.Array], chex.Array] = lambda x: x,
  others: Callable[[chex.Array], chex.Array] = lambda x: x,
) -> chex.ArrayTree:
  """Maps one function over sharded leaves and another over all others.

  `axes` is a prefix of the tree, of `SHARDED`, `REPLICATED` and specs.
  """

  def map_subtree(axis, subtree):
    return jax.tree.map(sharded if axis is SHARDED else others, subtree)

  return map_leaves(map_subtree, axes, tree)


def map_leaves(function: Callable[..., Any], axes: Any, *rest: Any) -> Any:
  """Maps like `jax.tree.map`, with `REPLICATED`, which is None, as a leaf."""
  return jax.tree.map(function, axes, *rest, is_leaf=lambda x: x is REPLICATED)


def _shard_map(function, in_axes, out_axes, how, donated):
  """Does by `jax.shard_map` what `jax.pmap` does."""

  def with_device_axis(*args):
    shards = map_axes(args, in_axes, sharded=lambda x: jnp.squeeze(x, 0))
    results = function(*shards)
    return map_axes(results, out_axes, sharded=lambda x: jnp.expand_dims(x, 0))

  def specs(axes):
    return jax.tree.map(lambda sharding: sharding.spec, how.shardings(axes))

  return jax.jit(
    jax.shard_map(
      with_device_axis,
      mesh=how.mesh(),
      in_specs=specs(in_axes),
      out_specs=specs(out_axes),
      # Without it gradients of replicated parameters would arrive already
      # summed, and `psum_flat` would count them once per device.
      check_vma=False,
    ),
    donate_argnums=donated,
  )


def device_slots(
  num_slots: int, axis_name: str | tuple[str, str] = AXIS
) -> chex.Array:
  """Returns the slots `[num_slots / D]` of this device, in a mapped function.

  `num_slots` counts the slots of all devices, a multiple of their number.
  """
  return types.slots(num_slots // jax.lax.axis_size(axis_name), axis_name)


def psum_flat(
  tree: chex.ArrayTree, axis_name: str | tuple[str, str] = AXIS
) -> chex.ArrayTree:
  """Adds up a pytree of one dtype over devices, in one message.

  Between machines, many small messages take many times as long as one.
  """
  if jax.lax.axis_size(axis_name) == 1:
    # XLA would copy all of it.
    return tree
  flat, unravel = flatten_util.ravel_pytree(tree)
  return unravel(jax.lax.psum(flat, axis_name))


def _make_global(args, in_axes, how):
  """Makes arrays of the devices of all processes from local arguments."""

  def make_leaf(x, axis, sharding):
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return x
    if axis is SHARDED:
      return hosts.shard(x)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at])

  def make_subtree(axis, sharding, subtree):
    return jax.tree.map(lambda x: make_leaf(x, axis, sharding), subtree)

  return map_leaves(make_subtree, in_axes, how.shardings(in_axes), args)


def _join_processes(results, out_axes):
  """Makes arrays of all processes from the local results of `jax.pmap`."""

  def join_subtree(axis, sharding, subtree):
    def join_leaf(x):
      shape = x.shape
      if axis is SHARDED:
        shape = (jax.device_count(), *shape[1:])
      return jax.make_array_from_single_device_arrays(
        shape, sharding, [s.data for s in x.addressable_shards]
      )

    return jax.tree.map(join_leaf, subtree)

  return map_leaves(
    join_subtree, out_axes, _DEFAULT.shardings(out_axes), results
  )
