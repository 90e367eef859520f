"""Turns: the runs of a stage, split into groups that fit in memory.

Runs that train side by side share a program and the examples. Where they need
more memory than there is, they train one group after another; a run does not
depend on its group, but for rounding.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import numpy as np

from btw_jax import types
from btw_jax.data import loading
from btw_jax.training import example_source
from btw_jax.training import loop
from btw_jax.training import run_groups
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs

# The share of the free memory that training may take.
_SHARE = 0.8
# A program is compiled to measure its memory only where this many times the
# size of states and data, at least what a step needs, is not clearly there.
_FACTOR = 8
# Beside the state there is a copy of it while it is saved.
_COPIES = 2


class Turn(NamedTuple):
  """The runs of one turn.

  Attributes:
    settings: positions of its settings.
    seeds: positions of its seeds.
  """

  settings: slice
  seeds: slice


class Memory(NamedTuple):
  """The memory of a device that training needs, in bytes.

  Attributes:
    shared: of the data that all runs share.
    per_seed: of what each seed has for all its settings.
    per_run: of the state of each run.
    per_step: of what a step needs besides.
  """

  shared: int
  per_seed: int
  per_run: int
  per_step: int

  def needed(self, num_settings: int, num_seeds: int) -> int:
    """Returns the memory of so many runs side by side."""
    num_runs = num_settings * num_seeds
    groups = run_groups.make(num_settings, num_seeds, self.per_run // _COPIES)
    return (
      self.shared
      + num_seeds * self.per_seed
      + num_runs * self.per_run
      + groups.num_concurrent * self.per_step
    )


def available(limit: float = 0.0) -> int:
  """Returns the memory that training may take, in bytes.

  Args:
    limit: in GB; 0 for most of the free memory of a device.
  """
  return int(limit * 1e9) if limit else int(_SHARE * loading.free_bytes())


def plan(
  trainer: trainer_lib.Trainer,
  specs: Sequence[vectorized_runs.RunSpec],
  seeds: Sequence[int],
  train: types.Split,
  valid: types.Split,
  num_bytes: int,
) -> tuple[list[Turn], Memory | None]:
  """Splits runs into turns that need no more than so much memory.

  Args:
    trainer: the trainer.
    specs: R settings.
    seeds: S seeds.
    train: training split, in full.
    valid: validation split, in full.
    num_bytes: memory of a device; a single run is never split.

  Returns:
    The turns, and the memory that they rest on, None if it was clear that all
    runs fit.
  """
  shape = len(specs), len(seeds)
  everything = [Turn(slice(0, len(specs)), slice(0, len(seeds)))]
  if shape == (1, 1):
    return everything, None
  least = _estimate(trainer, seeds, train, valid)
  if _FACTOR * least.needed(*shape) <= num_bytes:
    return everything, None
  memory = least._replace(per_step=_FACTOR // 2 * least.per_step)
  if not train.batch.on_disk:
    memory = _measure(trainer, specs, seeds, train, valid, least)
  return split(shape, lambda *n: memory.needed(*n) <= num_bytes), memory


def split(
  shape: tuple[int, int], fits: Callable[[int, int], bool]
) -> list[Turn]:
  """Splits R x S runs into few turns, of seeds before settings.

  Args:
    shape: R and S.
    fits: whether so many settings and seeds fit side by side.

  Returns:
    The turns, in order: the settings of a seed follow one another.
  """
  num_settings, num_seeds = shape
  seeds = _largest(num_seeds, lambda n: fits(num_settings, n))
  settings = num_settings
  if not fits(num_settings, seeds):
    settings = _largest(num_settings, lambda n: fits(n, seeds))
  return [
    Turn(of_settings, of_seeds)
    for of_seeds in _parts(num_seeds, seeds)
    for of_settings in _parts(num_settings, settings)
  ]


def largest(turns: Sequence[Turn]) -> tuple[int, int]:
  """Returns the largest numbers of settings and of seeds of a turn."""
  return tuple(
    max(part.stop - part.start for part in parts)
    for parts in zip(*turns, strict=True)
  )


def select(examples: types.Split, turn: Turn) -> types.Split:
  """Returns what the seeds of a turn have of a split in full."""
  axes = types.Split(None, 0)
  if not examples.batch.on_disk:
    axes = example_source.split_axes(examples)
  return types.Split(
    *(
      tree
      if axis is None or tree is None
      else jax.tree.map(lambda x: x[turn.seeds], tree)
      for tree, axis in zip(examples, axes, strict=True)
    )
  )


def join(
  turns: Sequence[Turn],
  results: Sequence[chex.ArrayTree],
  shape: tuple[int, int],
) -> chex.ArrayTree:
  """Joins results `[r, s, ...]` of all turns to `[R, S, ...]`.

  Args:
    turns: as `plan` returns them.
    results: of each turn; pytrees of arrays.
    shape: R and S.
  """
  if len(turns) == 1:
    return results[0]

  def join_leaves(*leaves):
    first, *_ = leaves
    joined = np.empty((*shape, *first.shape[2:]), first.dtype)
    for turn, leaf in zip(turns, leaves, strict=True):
      joined[turn.settings, turn.seeds] = leaf
    return joined

  return jax.tree.map(join_leaves, *results)


def _largest(number, fits):
  """Returns the largest size of equal parts of a number that fits, or 1."""
  sizes = dict.fromkeys(-(-number // n) for n in range(1, number + 1))
  return next((size for size in sizes if fits(size)), 1)


def _parts(number, size):
  return [
    slice(start, min(start + size, number)) for start in range(0, number, size)
  ]


def _estimate(trainer, seeds, train, valid):
  """Returns the memory of states and data, without what a step needs."""
  batch = train.batch
  if batch.on_disk:
    shared = per_seed = 0
    batch = example_source.make(train, trainer.batch_size).template().batch
    batch = jax.tree.map(lambda x: x[0], batch)
  else:
    is_drawn = example_source.split_axes(train).batch == 0
    total = sum(state_lib.num_bytes(part.batch) for part in (train, valid))
    shared, per_seed = (0, total // len(seeds)) if is_drawn else (total, 0)
    if is_drawn:
      batch = jax.tree.map(lambda x: x[0], batch)
  outputs = sum(state_lib.num_bytes(part.unimodal) for part in (train, valid))
  state = jax.eval_shape(
    lambda: trainer.init(
      0, types.Split(batch, None), valid.batch.present.shape[-2]
    )
  )
  per_run = state_lib.num_bytes(state)
  return Memory(
    shared,
    per_seed + outputs // len(seeds),
    _COPIES * per_run,
    state_lib.num_bytes(state.train.params),
  )


def _measure(trainer, specs, seeds, train, valid, least):
  """Returns the memory with what a step needs, as XLA plans it for one run."""
  first = Turn(slice(0, 1), slice(0, 1))
  runner = loop.make_runner(
    trainer, specs[:1], seeds[:1], select(train, first), select(valid, first)
  )
  known = least.shared + least.per_seed + least.per_run // _COPIES
  return least._replace(
    per_step=max(runner.num_bytes() - known, least.per_step)
  )
