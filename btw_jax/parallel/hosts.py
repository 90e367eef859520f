"""What moves between the devices and the hosts of all processes.

Arrays that are spread over devices have a leading axis of them, `[D, ...]`, of
which each process has its own part.
"""

from collections.abc import Sequence

import chex
import jax
from jax.experimental import multihost_utils
import numpy as np

AXIS = "devices"


def devices() -> list[jax.Device]:
  """All devices, those of a process side by side, as `jax.pmap` has them."""
  return [
    device
    for process in range(jax.process_count())
    for device in jax.local_devices(process)
  ]


def shard(own: chex.ArrayTree) -> chex.ArrayTree:
  """Puts each process's part of what is spread on its devices.

  Args:
    own: pytree of `[local devices, ...]`.

  Returns:
    Pytree of `[D, ...]`.
  """
  mesh = jax.sharding.Mesh(np.array(devices()), (AXIS,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))

  def put_one(x):
    shape = (jax.device_count(), *x.shape[1:])
    return jax.make_array_from_process_local_data(
      sharding, np.asarray(x), shape
    )

  return jax.tree.map(put_one, own)


def local_shards(spread: chex.ArrayTree) -> chex.ArrayTree:
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


def to_host(tree: chex.ArrayTree) -> chex.ArrayTree:
  """What is the same on every device, or shared out by specs, on the host.

  Args:
    tree: pytree of arrays of all processes.

  Returns:
    Pytree of NumPy arrays, on every process.
  """

  def whole_one(x):
    if x.is_fully_addressable or x.is_fully_replicated:
      return jax.device_get(x)
    return multihost_utils.process_allgather(x, tiled=True)

  return jax.tree.map(whole_one, tree)


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


def any_process(flags: Sequence[bool]) -> list[bool]:
  """Whether each of some things is so in any process.

  Args:
    flags: whether they are in this one.

  Returns:
    As many answers, the same in all.
  """
  return gather(np.array(flags, bool)[None]).any(axis=0).tolist()


def barrier(what: str) -> None:
  """Until all processes have come so far.

  Args:
    what: a name of the place, the same in all.
  """
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
