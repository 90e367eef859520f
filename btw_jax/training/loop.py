"""The training loop: epochs, callbacks, checkpoints, an early end.

`fit` trains every setting with every seed, `[R, S, ...]`, on data in memory or
on disk. The loop knows neither kind: an `EpochRunner` runs the epochs.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import NamedTuple, Protocol

import chex
import jax
import numpy as np

from btw_jax import errors
from btw_jax import types
from btw_jax.parallel import hosts
from btw_jax.training import epoch_metrics
from btw_jax.training import example_source
from btw_jax.training import in_memory
from btw_jax.training import state as state_lib
from btw_jax.training import streaming
from btw_jax.training import train_checkpoints
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs


class EpochRunner(Protocol):
  """All runs of a program, trained epoch by epoch.

  Attributes:
    run: the state of all runs, `[R, S, ...]`.
    axes: which parts of the state are sharded over devices.
    positions_per_epoch: positions of an epoch that training can resume from.
    sums: the sums of the steps of an epoch that has begun.
    latest_best: the latest epoch that is the best one of a model, -1 for none.
  """

  run: state_lib.RunState
  axes: state_lib.RunState
  positions_per_epoch: int
  sums: epoch_metrics.EpochSums
  latest_best: int

  def run_epoch(
    self, epoch: int, should_stop: Callable[[], bool]
  ) -> dict[str, chex.Array] | None:
    """Trains an epoch; returns its log `[R, S, ...]`, None if stopped."""

  def batch_examples(self, epoch: int, seed: int, step: int) -> np.ndarray:
    """Returns the numbers of the examples of a batch of this process."""


class SkippedStep(NamedTuple):
  """A step that changed nothing, because its gradient was not finite.

  Attributes:
    setting: position of the setting.
    seed: position of the seed.
    epoch: number of the epoch, from 0.
    step: number of the step in the epoch, from 0.
    examples: numbers of the examples that this process put into the batch.
  """

  setting: int
  seed: int
  epoch: int
  step: int
  examples: np.ndarray


@dataclasses.dataclass(frozen=True)
class Callbacks:
  """Functions that the loop calls; each does nothing by default.

  Attributes:
    on_epoch: called after every epoch with its number and its log
      `[R, S, ...]`.
    on_resume: called before the first epoch with the number of finished epochs
      and of finished batches that a checkpoint holds; both may be 0.
    on_skipped: called after an epoch that has skipped steps, with these.
    should_stop: asked after every epoch, and within epochs on disk, whether to
      end early.
  """

  on_epoch: Callable[[int, Mapping[str, np.ndarray]], None] = (
    lambda epoch, log: None
  )
  on_resume: Callable[[int, int], None] = lambda num_epochs, num_batches: None
  on_skipped: Callable[[Sequence[SkippedStep]], None] = lambda steps: None
  should_stop: Callable[[], bool] = lambda: False


class DivergedError(errors.InputError):
  """Too many steps in a row had a gradient that is not finite."""


def fit(
  trainer: trainer_lib.Trainer,
  specs: Sequence[vectorized_runs.RunSpec],
  seeds: Sequence[int],
  train: types.Split,
  valid: types.Split,
  *,
  num_epochs: int,
  callbacks: Callbacks | None = None,
  checkpoints: train_checkpoints.TrainCheckpoints | None = None,
) -> state_lib.Best:
  """Trains every setting with every seed, in one program.

  Args:
    trainer: the trainer; its rule must hold every variant.
    specs: R settings. All runs of a seed start from the same parameters and
      see the same batches.
    seeds: S seeds.
    train: training split, in full, `unimodal` `[S, M, N, K]`.
    valid: validation split, in full.
    num_epochs: largest number of epochs of every run.
    callbacks: functions to call along the way.
    checkpoints: where the state is saved, and resumed from if it is there.

  Returns:
    The best epoch of every run by validation loss, `[R, S, ...]`.

  Raises:
    DivergedError: if `trainer.max_skipped` steps in a row were skipped, or all
      steps, or if under no setting a seed has a finite validation loss.
  """
  runner = make_runner(trainer, specs, seeds, train, valid)
  loop = _Loop(trainer, runner, callbacks or Callbacks(), checkpoints)
  while loop.num_done < num_epochs and not loop.stopped:
    loop.run_epoch(num_epochs, specs, seeds)
  if checkpoints:
    checkpoints.close()
  best = hosts.to_host(runner.run.best)
  lost = ~np.isfinite(best.loss).any(axis=0)
  # A run that was stopped in its first epoch has no validation loss yet.
  if loop.num_done and lost.any():
    raise DivergedError(
      f"no epoch of {specs[0].variant}, seed {seeds[np.argwhere(lost)[0][0]]},"
      " has a finite validation loss: lower --learning_rate, or scale the data."
    )
  return best


def make_runner(
  trainer: trainer_lib.Trainer,
  specs: Sequence[vectorized_runs.RunSpec],
  seeds: Sequence[int],
  train: types.Split,
  valid: types.Split,
) -> EpochRunner:
  """Returns the runner for data in memory or on disk, as the splits are."""
  kind = (
    streaming.StreamingRunner
    if train.batch.on_disk
    else in_memory.InMemoryRunner
  )
  return kind(
    trainer,
    specs,
    seeds,
    example_source.make(train, trainer.batch_size),
    example_source.make(valid, jax.device_count()),
  )


class _Loop:
  """The progress of `fit`: epochs done, whether to stop, checkpoints.

  Attributes:
    num_done: number of finished epochs.
    stopped: whether training ends before the next epoch.
  """

  def __init__(self, trainer, runner, callbacks, checkpoints):
    """Resumes from the latest checkpoint, if there is one."""
    self._trainer, self._runner = trainer, runner
    self._callbacks, self._checkpoints = callbacks, checkpoints
    self._layout = train_checkpoints.StateLayout(trainer, runner.axes)
    self.num_done = 0
    latest = checkpoints and checkpoints.latest(self._layout, runner.run)
    if latest:
      position, runner.run, sums = latest
      self.num_done = position // runner.positions_per_epoch
      runner.sums = epoch_metrics.EpochSums(sums)
    callbacks.on_resume(self.num_done, runner.sums.num_steps)
    self.stopped = self._has_waited()

  def run_epoch(self, num_epochs, specs, seeds):
    """Trains, logs and checks one epoch, and saves the state if it is due."""
    epoch, runner = self.num_done, self._runner
    log = runner.run_epoch(epoch, self._save_between_batches)
    if log is None:
      self.stopped = True
      return
    log = jax.device_get(log)
    self._callbacks.on_epoch(epoch, log)
    if np.any(log["skipped"]):
      self._callbacks.on_skipped(_skipped_steps(runner, epoch, log["skipped"]))
      is_last = epoch + 1 == num_epochs
      _check_diverged(
        self._trainer, specs, seeds, epoch, log["skipped"], is_last
      )
    should_stop, is_due = self._ask_all_processes()
    self.num_done += 1
    self.stopped = should_stop or self._has_waited()
    is_last = self.stopped or self.num_done == num_epochs
    if self._checkpoints and (is_last or is_due):
      self._save(np.mean(log["valid_loss"]))

  def _save_between_batches(self):
    """Saves the state if it is due, and returns whether to stop."""
    should_stop, is_due = self._ask_all_processes()
    if self._checkpoints and (should_stop or is_due):
      # The validation loss is not known yet: this cannot be the best one.
      self._save(np.inf)
    return should_stop

  def _ask_all_processes(self):
    """Returns whether any process should stop, and whether any should save."""
    is_due = bool(self._checkpoints and self._checkpoints.due())
    return hosts.any_process([self._callbacks.should_stop(), is_due])

  def _save(self, valid_loss):
    runner = self._runner
    position = (
      self.num_done * runner.positions_per_epoch + runner.sums.num_steps
    )
    self._checkpoints.save(
      position, self._layout, runner.run, valid_loss, runner.sums.state()
    )

  def _has_waited(self):
    """Returns whether no run has improved for as long as patience allows."""
    patience = self._trainer.patience
    if patience is None or not self.num_done:
      return False
    latest_best = max(self._runner.latest_best, 0)
    return self.num_done - 1 - latest_best >= patience


def _skipped_steps(runner, epoch, counts):
  """Lists the skipped steps of an epoch; counts are `[R, S, T]`."""
  return [
    SkippedStep(r, s, epoch, step, runner.batch_examples(epoch, s, step))
    for r, s, step in np.argwhere(counts).tolist()
  ]


def _check_diverged(trainer, specs, seeds, epoch, counts, is_last):
  """Refuses to go on after too many skipped steps, or to end with no others."""
  limit = trainer.max_skipped
  if is_last:
    limit = min(limit, (epoch + 1) * counts.shape[-1])
  if np.max(counts) >= limit:
    r, s, step = np.argwhere(counts >= limit)[0]
    raise DivergedError(
      f"epoch {epoch + 1}, step {step + 1}: the gradient of"
      f" {specs[r].variant}, seed {seeds[s]}, was not finite"
      f" {counts[r, s, step]} times in a row: lower --learning_rate, or set"
      " --max_norm; the log names the examples."
    )
