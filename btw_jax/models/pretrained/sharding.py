"""Parameters that are sharded over the devices of a mesh.

A parameter is split along one of its axes, and the program that uses it is
compiled by `jit` for that placement. The layers of a stack are applied by a
scan, so that the parameters of one layer at a time are gathered.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import numpy as np

# The axis of the mesh that parameters are split over.
AXIS = "parameters"


def make_mesh(devices: Sequence[jax.Device]) -> jax.sharding.Mesh:
  """Returns a mesh of one axis, over which the compiler moves parameters."""
  return jax.sharding.Mesh(np.array(devices), (AXIS,))


def spec(
  name: str, shape: tuple[int, ...], num_devices: int
) -> jax.sharding.PartitionSpec:
  """Returns how a parameter is split: along its longest axis that divides.

  Args:
    name: of the parameter; the leading axis of a stack, "*" in its name, is
      never split.
    shape: of the parameter.
    num_devices: number of devices of the mesh.
  """
  axes = range(1 if "*" in name else 0, len(shape))
  fitting = [axis for axis in axes if shape[axis] % num_devices == 0]
  if not fitting:
    return jax.sharding.PartitionSpec()
  longest = max(fitting, key=lambda axis: shape[axis])
  parts = [None] * len(shape)
  parts[longest] = AXIS
  return jax.sharding.PartitionSpec(*parts)


def placement(
  mesh: jax.sharding.Mesh,
) -> Callable[[str, np.ndarray], chex.Array]:
  """Returns a function that spreads a parameter over the mesh of `make_mesh`.

  It is the `place` of `catalog.load`.
  """

  def place(name, array):
    of_array = spec(name, array.shape, mesh.shape[AXIS])
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, of_array))

  return place


def spread(batch: Any) -> Any:
  """Spreads a batch over all devices, where its size allows it.

  Parameters of `placement` and batches are split over the same devices.

  Args:
    batch: pytree of arrays `[B, ...]`.
  """
  devices = jax.devices()
  if len(devices) == 1:
    return batch
  mesh = make_mesh(devices)

  def put(x):
    divides = x.shape[0] % len(devices) == 0
    axes = jax.sharding.PartitionSpec(*([AXIS] if divides else []))
    return jax.device_put(x, jax.sharding.NamedSharding(mesh, axes))

  return jax.tree.map(put, batch)
