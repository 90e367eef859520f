"""Which device holds which example of a split."""

from typing import NamedTuple

import chex
import jax
import numpy as np

from btw_jax import types
from btw_jax.data import plans
from btw_jax.parallel import hosts


class Placed(NamedTuple):
  """A split spread over devices.

  Attributes:
    split: arrays `[D, ...]`; each device has its slots of the layout side by
      side as examples, n of them. What fills up a slot has no modality.
    layout: which example is where.
  """

  split: types.Split
  layout: plans.SlotLayout


def my_slots(num_slots: int) -> np.ndarray:
  """The slots of the devices of this process.

  Args:
    num_slots: of all devices, a multiple of their number.

  Returns:
    Their numbers, those of a device side by side.
  """
  size = num_slots // jax.process_count()
  return jax.process_index() * size + np.arange(size)


def by_device(own: chex.ArrayTree, axis: int = 0) -> chex.ArrayTree:
  """Gives the examples of this process a leading axis of its devices.

  Args:
    own: pytree of arrays with the examples of its slots side by side.
    axis: of examples.

  Returns:
    Pytree of `[local devices, ...]`.
  """
  count = jax.local_device_count()

  def split(x):
    shape = (*x.shape[:axis], count, -1, *x.shape[axis + 1 :])
    return np.moveaxis(x.reshape(shape), axis, 0)

  return jax.tree.map(split, own)


def place(split: types.Split, layout: plans.SlotLayout) -> Placed:
  """Spreads a split that every process has whole.

  Args:
    split: its batch `[N, ...]` or `[S, N, ...]`, its outputs `[S, M, N, K]`.
    layout: which example belongs where.

  Returns:
    The split on the devices.
  """
  rows = layout.rows(my_slots(layout.num_slots)).reshape(-1)
  there = rows != plans.PADDING
  taken = np.where(there, rows, 0)

  def spread(tree, axis):
    own = jax.tree.map(lambda x: np.take(np.asarray(x), taken, axis), tree)
    return by_device(own, axis)

  batch = spread(split.batch, np.ndim(split.batch.present) - 2)
  there = by_device(there)
  if batch.present.ndim == 4:
    there = there[:, None]
  batch = batch._replace(present=batch.present & there[..., None])
  return Placed(
    hosts.shard(types.Split(batch, spread(split.unimodal, 2))), layout
  )


def restore(layout: plans.SlotLayout, spread: chex.Array) -> np.ndarray:
  """Values of examples, in the order of the examples.

  Args:
    layout: which example is where.
    spread: `[D, ..., n, K]`.

  Returns:
    `[..., N, K]`, on every process.
  """
  return restore_own(layout, hosts.local_shards(spread))


def restore_own(layout: plans.SlotLayout, own: np.ndarray) -> np.ndarray:
  """The same of what each process has of them, on its host.

  Args:
    layout: which example is where.
    own: `[local devices, ..., n, K]`.

  Returns:
    `[..., N, K]`, on every process.
  """
  every = hosts.gather(own)
  every = np.moveaxis(every, 0, -3)
  every = every.reshape(*every.shape[:-3], -1, every.shape[-1])
  rows = layout.rows(np.arange(layout.num_slots)).reshape(-1)
  there = rows != plans.PADDING
  shape = (*every.shape[:-2], layout.num_examples, every.shape[-1])
  whole = np.empty(shape, every.dtype)
  whole[..., rows[there], :] = every[..., there, :]
  return whole
