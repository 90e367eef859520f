"""Transfers between the devices and the hosts of all processes.

Arrays that are sharded over devices have a leading axis of devices, `[D, ...]`.
Each process holds the shards of its own devices.
"""

from collections.abc import Sequence

import chex
import jax
from jax.experimental import multihost_utils
import numpy as np

AXIS = "devices"


def devices() -> list[jax.Device]:
  """Lists all devices, process by process, in the order of `jax.pmap`."""
  return [
    device
    for process in range(jax.process_count())
    for device in jax.local_devices(process)
  ]


def shard(local: chex.ArrayTree) -> chex.ArrayTree:
  """Puts `[local devices, ...]` of each process on its devices: `[D, ...]`."""
  mesh = jax.sharding.Mesh(np.array(devices()), (AXIS,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))

  def shard_leaf(x):
    shape = (jax.device_count(), *x.shape[1:])
    return jax.make_array_from_process_local_data(
      sharding, np.asarray(x), shape
    )

  return jax.tree.map(shard_leaf, local)


def local_shards(sharded: chex.ArrayTree) -> chex.ArrayTree:
  """Copies a process's shards of `[D, ...]` to NumPy `[local devices, ...]`."""

  def copy_leaf(x):
    shards = sorted(x.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])

  return jax.tree.map(copy_leaf, sharded)


def to_host(tree: chex.ArrayTree) -> chex.ArrayTree:
  """Copies replicated arrays, or sharded experts, to every process in full."""

  def copy_leaf(x):
    if x.is_fully_addressable or x.is_fully_replicated:
      return jax.device_get(x)
    return multihost_utils.process_allgather(x, tiled=True)

  return jax.tree.map(copy_leaf, tree)


def gather(local: chex.ArrayTree) -> chex.ArrayTree:
  """Gathers NumPy `[local devices, ...]` of all processes to `[D, ...]`."""
  if jax.process_count() == 1:
    return local
  return jax.tree.map(
    lambda x: multihost_utils.process_allgather(x, tiled=True), local
  )


def any_process(flags: Sequence[bool]) -> list[bool]:
  """Returns for each flag whether it is set in any process."""
  return gather(np.array(flags, bool)[None]).any(axis=0).tolist()


def least(number: float) -> float:
  """Returns the least number of all processes, in float32."""
  return float(gather(np.full(1, number, np.float32)).min())


def barrier(name: str) -> None:
  """Waits until all processes have reached the barrier of that name."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
