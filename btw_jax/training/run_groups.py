"""Groups of runs that the cores of one processor train side by side.

XLA computes the small products of a small model on one core, however many runs
share the program. Runs depend on nothing but themselves: each group of them is
one call of the same program, and each core works on a call of its own.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
import dataclasses
import math
import os
from typing import Any

import jax
import numpy as np

from btw_jax import types
from btw_jax.parallel import device_map
from btw_jax.training import state as state_lib

# A run whose state takes more bytes has products that all cores share.
_LARGEST_STATE = 2**24
# The time that a step takes however few seeds it has, in units of the time that
# every seed adds.
_STEP_OVERHEAD = 0.8


@dataclasses.dataclass(frozen=True)
class Groups:
  """R x S runs in groups of one setting and G seeds, or all in one group.

  Attributes:
    num_settings: R.
    num_seeds: S.
    seeds_per_group: G, a divisor of S.
    num_threads: number of groups that train at the same time.
  """

  num_settings: int
  num_seeds: int
  seeds_per_group: int
  num_threads: int

  @property
  def is_one(self) -> bool:
    """True if all runs are one group."""
    return self.num_threads == 1

  @property
  def in_turn(self) -> bool:
    """True if the settings of the one group train one after another."""
    on_cpu = jax.default_backend() == "cpu"
    return self.is_one and self.num_settings > 1 and on_cpu

  @property
  def settings_per_group(self) -> int:
    """The number of settings of a group."""
    return self.num_settings if self.is_one else 1

  @property
  def starts(self) -> list[tuple[int, int]]:
    """The first setting and the first seed of each group, in order."""
    return [
      (setting, seed)
      for setting in range(0, self.num_settings, self.settings_per_group)
      for seed in range(0, self.num_seeds, self.seeds_per_group)
    ]

  @property
  def num_concurrent(self) -> int:
    """The number of runs that take a step at the same time."""
    per_group = self.seeds_per_group
    if not self.in_turn:
      per_group *= self.settings_per_group
    return min(self.num_threads, len(self.starts)) * per_group

  def split(self, tree: Any, axes: Any) -> list[Any]:
    """Returns the part of each group of a state `[R, S, ...]`.

    `axes` are those of `device_map.parallelise`.
    """
    if self.is_one:
      return [tree]

    def take(setting, seed):
      part = (
        slice(setting, setting + self.settings_per_group),
        slice(seed, seed + self.seeds_per_group),
      )
      return device_map.map_axes(
        tree,
        axes,
        sharded=lambda x: _take(x, (slice(None), *part)),
        others=lambda x: _take(x, part),
      )

    return [take(*start) for start in self.starts]

  def split_examples(
    self, examples: types.Split, seed_axes: types.Split
  ) -> list[types.Split]:
    """Returns the examples of each group; groups of the same seeds share them.

    `examples` are sharded over devices, `seed_axes` tells what each seed has
    for itself, see `example_source.split_axes`.
    """
    if self.is_one:
      return [examples]

    def take(seed):
      part = slice(None), slice(seed, seed + self.seeds_per_group)
      return types.Split(
        *(
          tree if axis is None else jax.tree.map(lambda x: _take(x, part), tree)
          for tree, axis in zip(examples, seed_axes, strict=True)
        )
      )

    starts = range(0, self.num_seeds, self.seeds_per_group)
    by_seed = {seed: take(seed) for seed in starts}
    return [by_seed[seed] for _, seed in self.starts]

  def join(self, parts: Sequence[Any], axes: Any) -> Any:
    """Returns the state `[R, S, ...]` of all groups, as `split` parts it."""
    if self.is_one:
      return parts[0]

    def join_leaves(position):
      def join(*leaves):
        joined = self._stack(leaves, position)
        return jax.device_put(joined, leaves[0].sharding)

      return join

    return device_map.map_leaves(
      lambda axis, *subtrees: jax.tree.map(
        join_leaves(1 if axis is device_map.SHARDED else 0), *subtrees
      ),
      axes,
      *parts,
    )

  def join_logs(self, parts: Sequence[Any]) -> Any:
    """Returns values `[R, S, ...]` of all groups, on the host if several."""
    if self.is_one:
      return parts[0]
    return jax.tree.map(lambda *leaves: self._stack(leaves, 0), *parts)

  def _stack(self, leaves, position):
    """Joins arrays `[..., r, s, ...]` whose settings are at a position."""
    stacked = np.stack(jax.device_get(leaves), axis=position)
    before, after = stacked.shape[:position], stacked.shape[position + 3 :]
    return stacked.reshape(*before, self.num_settings, self.num_seeds, *after)

  def map(self, function: Callable[[int], Any]) -> list[Any]:
    """Calls a function with the number of each group, several side by side.

    The results of several groups are complete.
    """
    if self.is_one:
      return [function(0)]

    def complete(group):
      return jax.block_until_ready(function(group))

    with futures.ThreadPoolExecutor(self.num_threads) as threads:
      return list(threads.map(complete, range(len(self.starts))))


def make_for(run: Any, num_settings: int, num_seeds: int) -> Groups:
  """Plans the groups of the runs of a state `[R, S, ...]`, as `make` does."""
  per_run = state_lib.num_bytes(run) // (num_settings * num_seeds)
  return make(num_settings, num_seeds, per_run)


def make(num_settings: int, num_seeds: int, bytes_per_run: int) -> Groups:
  """Plans the groups of R x S runs for this process.

  All runs are one group where the devices are several or no CPU, and where a
  run is large.

  Args:
    num_settings: R.
    num_seeds: S.
    bytes_per_run: the size of the state of a run.
  """
  alone = jax.process_count() == 1 and jax.device_count() == 1
  on_cpu = jax.default_backend() == "cpu"
  shared = alone and on_cpu and bytes_per_run <= _LARGEST_STATE
  return plan(num_settings, num_seeds, _num_cores() if shared else 1)


def plan(num_settings: int, num_seeds: int, num_cores: int) -> Groups:
  """Plans the groups of R x S runs so that the cores are done early."""
  one = Groups(num_settings, num_seeds, num_seeds, 1)
  if num_cores == 1:
    return one

  def duration(groups):
    rounds = math.ceil(len(groups.starts) / groups.num_threads)
    per_setting = groups.seeds_per_group + _STEP_OVERHEAD
    return rounds * groups.settings_per_group * per_setting

  several = [
    Groups(num_settings, num_seeds, size, num_cores)
    for size in range(1, num_seeds + 1)
    if num_seeds % size == 0
  ]
  return min((one, *several), key=duration)


def _take(x, part):
  """Copies a part of an array, on the one device that there is."""
  return jax.device_put(np.array(np.asarray(x)[part]), x.sharding)


def _num_cores():
  """Returns the number of cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
