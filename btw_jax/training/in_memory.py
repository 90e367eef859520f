"""Training on data that fits on the devices: an epoch is one program."""

from collections.abc import Callable, Sequence
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.parallel import device_map
from btw_jax.parallel import placement
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import epoch_metrics
from btw_jax.training import example_source
from btw_jax.training import run_groups
from btw_jax.training import sampling
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs


class InMemoryRunner:
  """Runs of R settings and S seeds, trained by one program per epoch.

  Implements `loop.EpochRunner`. On a CPU of several cores, several calls of the
  program train groups of small runs at the same time; see `run_groups`.

  Attributes:
    axes: which parts of the state are sharded over devices.
    positions_per_epoch: 1, since an epoch cannot be stopped in between.
    sums: empty, since no epoch is ever half done.
  """

  positions_per_epoch = 1

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    specs: Sequence[vectorized_runs.RunSpec],
    seeds: Sequence[int],
    train: example_source.InMemoryExamples,
    valid: example_source.InMemoryExamples,
    groups: run_groups.Groups | None = None,
  ):
    """Initialises R settings x S seeds, and compiles the epoch.

    `train` must have as many slots as a batch has examples. `groups` are those
    that fit this process by default.
    """
    self._layout = train.layout
    self.sums = epoch_metrics.EpochSums()
    self._seeds = jnp.asarray(seeds)
    run, self.axes = vectorized_runs.init(
      trainer, len(specs), self._seeds, train.split, valid.layout.num_examples
    )
    self._groups = groups or run_groups.make_for(run, len(specs), len(seeds))
    self._states = self._groups.split(run, self.axes)
    del run
    self._inputs = self._split_inputs(trainer, specs, train, valid)
    advance = device_map.parallelise(
      vectorized_runs.map_runs(
        functools.partial(
          epoch_lib.run_epoch,
          trainer,
          train.layout.num_examples,
          valid.layout,
        ),
        (
          vectorized_runs.PER_RUN,
          vectorized_runs.PER_SETTING,
          vectorized_runs.PER_SEED,
          vectorized_runs.SHARED,
          (train.axes, None),
          (valid.axes, None),
        ),
        in_turn=self._groups.in_turn,
      ),
      (self.axes, *[device_map.REPLICATED] * 3, *[device_map.SHARDED] * 2),
      (self.axes, device_map.REPLICATED),
      how=trainer.parallelism,
      donate_first=True,
    )
    self._advance = advance.compile(
      *self._arguments(0, 0), one_core=not self._groups.is_one
    )

  def _split_inputs(self, trainer, specs, train, valid):
    """Returns the settings, seeds, training and validation of each group."""
    run_params = vectorized_runs.stack_params(trainer.rule, specs)
    groups = self._groups
    return [
      (
        jax.tree.map(
          lambda x, r=r: x[r : r + groups.settings_per_group], run_params
        ),
        self._seeds[s : s + groups.seeds_per_group],
        *splits,
      )
      for (r, s), *splits in zip(
        groups.starts,
        groups.split_examples(train.split, train.axes),
        groups.split_examples(valid.split, valid.axes),
        strict=True,
      )
    ]

  def _arguments(self, group, epoch):
    run_params, seeds, *splits = self._inputs[group]
    return self._states[group], run_params, seeds, epoch, *splits

  @property
  def run(self) -> state_lib.RunState:
    """The state of all runs, `[R, S, ...]`."""
    return self._groups.join(self._states, self.axes)

  @run.setter
  def run(self, run: state_lib.RunState):
    """Replaces the state of all runs, as a resumed run does."""
    self._states = self._groups.split(run, self.axes)

  @property
  def latest_best(self) -> int:
    """The latest epoch that is the best one of a model, -1 for none."""
    return max(int(np.max(state.best.epoch)) for state in self._states)

  def num_bytes(self) -> int:
    """Returns the memory of a device that an epoch needs, data included."""
    held = state_lib.num_bytes([self._states, self._inputs])
    of_group = state_lib.num_bytes([self._states[0], self._inputs[0]])
    num_calls = min(self._groups.num_threads, len(self._states))
    return held + num_calls * (self._advance.num_bytes() - of_group)

  def run_epoch(
    self, epoch: int, should_stop: Callable[[], bool] = lambda: False
  ) -> dict[str, chex.Array]:
    """Trains an epoch, counted from 0, and returns its log `[R, S, ...]`.

    `should_stop` is not called: the epoch is one program.
    """
    del should_stop

    def advance(group):
      self._states[group], log = self._advance(*self._arguments(group, epoch))
      return log

    logs = self._groups.map(advance)
    return self._groups.join_logs(logs)

  def batch_examples(self, epoch: int, seed: int, step: int) -> np.ndarray:
    """Returns the numbers of the examples of a batch of this process."""
    slots = placement.process_slots(self._layout.num_slots)
    order = sampling.epoch_order(self._seeds[seed], epoch, slots, self._layout)
    return self._layout.rows(slots)[np.arange(len(slots)), order[step]]
