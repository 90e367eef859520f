"""The placement of the examples of a split on devices."""

import chex
import jax
import numpy as np

from btw_jax import types
from btw_jax.data import plans
from btw_jax.parallel import hosts


def process_slots(num_slots: int) -> np.ndarray:
  """Returns the slots of this process's devices, of `num_slots` in all.

  The slots of a device lie side by side; `device_map.device_slots` gives those
  of one device inside a mapped function.
  """
  size = num_slots // jax.process_count()
  return jax.process_index() * size + np.arange(size)


def by_device(examples: chex.ArrayTree, axis: int = 0) -> chex.ArrayTree:
  """Gives this process's examples a leading axis of its devices.

  The examples of its slots lie side by side along `axis`.
  """
  count = jax.local_device_count()

  def split_axis(x):
    shape = (*x.shape[:axis], count, -1, *x.shape[axis + 1 :])
    return np.moveaxis(x.reshape(shape), axis, 0)

  return jax.tree.map(split_axis, examples)


def place(split: types.Split, layout: plans.SlotLayout) -> types.Split:
  """Shards a split that every process has in full.

  Args:
    split: its batch `[N, ...]` or `[S, N, ...]`, its outputs `[S, M, N, K]`.
    layout: which example is in which slot.

  Returns:
    The split on the devices, `[D, ...]`: each device has the examples of its
    slots side by side, and padding without any modality.
  """
  rows = layout.rows(process_slots(layout.num_slots)).reshape(-1)
  filled = rows != plans.PADDING
  taken = np.where(filled, rows, 0)

  def take_rows(tree, axis):
    local = jax.tree.map(lambda x: np.take(np.asarray(x), taken, axis), tree)
    return by_device(local, axis)

  batch = take_rows(split.batch, np.ndim(split.batch.present) - 2)
  filled = by_device(filled)
  if batch.present.ndim == 4:
    filled = filled[:, None]
  batch = batch._replace(present=batch.present & filled[..., None])
  return hosts.shard(types.Split(batch, take_rows(split.unimodal, 2)))


def restore(layout: plans.SlotLayout, local: np.ndarray) -> np.ndarray:
  """Gathers values of examples in the order of the examples, on every process.

  From `[local devices, ..., n, K]` of this process it makes `[..., N, K]`.
  """
  gathered = np.moveaxis(hosts.gather(local), 0, -3)
  by_slot = gathered.reshape(*gathered.shape[:-3], -1, gathered.shape[-1])
  rows = layout.rows(np.arange(layout.num_slots)).reshape(-1)
  filled = rows != plans.PADDING
  shape = (*by_slot.shape[:-2], layout.num_examples, by_slot.shape[-1])
  restored = np.empty(shape, by_slot.dtype)
  restored[..., rows[filled], :] = by_slot[..., filled, :]
  return restored
