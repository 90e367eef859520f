"""Stage 1, one model per modality; stage 2, the multimodal model, weighted.

Both call the same trainer. Seeds and cells (weighting x strength x scale) are
axes of one compiled program, `[R, S, ...]`.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax import types
from btw_jax.data import batch_source
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.parallel import hosts
from btw_jax.parallel import placement
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import state as state_lib
from btw_jax.training import streaming as streaming_lib
from btw_jax.training import train_checkpoints
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs

# Called after every epoch with its number and what it logged, `[R, S, ...]`.
Observer = Callable[[int, Mapping[str, np.ndarray]], None]


class Skipped(NamedTuple):
  """A step that changed nothing, because its gradient was not finite.

  Attributes:
    run: position of the cell.
    seed: position of the seed.
    epoch: from 0.
    step: of the epoch, from 0.
    examples: numbers of those that this process put into the batch.
  """

  run: int
  seed: int
  epoch: int
  step: int
  examples: np.ndarray


class DivergedError(errors.InputError):
  """Too many steps in a row were skipped."""


def fit(
  trainer: trainer_lib.Trainer,
  choices: Sequence[vectorized_runs.RunSpec],
  seeds: Sequence[int],
  train: types.Split | placement.Placed,
  valid: types.Split | placement.Placed,
  *,
  num_epochs: int,
  observe: Observer,
  stop: Callable[[], bool] = lambda: False,
  keep: train_checkpoints.TrainCheckpoints | None = None,
  resumed: Callable[[int, int], None] = lambda num_epochs, num_batches: None,
  skipped: Callable[[Sequence[Skipped]], None] = lambda steps: None,
) -> state_lib.Best:
  """Trains every choice with every seed, in one program.

  Args:
    trainer: what to train; its rule must hold every variant.
    choices: R cells. All runs of a seed start from the same parameters and
      see the same batches.
    seeds: S of them.
    train: training split, whole, `unimodal` `[S, M, N, K]`; or placed with as
      many slots as a batch has examples.
    valid: validation split, whole or placed.
    num_epochs: the budget of every run.
    observe: called after every epoch.
    stop: asked after every epoch, and within those that go batch by batch,
      whether to end before the budget is spent.
    keep: where snapshots are kept, and found if there are some.
    resumed: called before the first epoch with the number of those that a
      snapshot has behind it, and of batches of the one that has begun.
    skipped: called after an epoch with the steps of it that were skipped.

  Returns:
    The best epoch of every run by validation loss, `[R, S, ...]`.

  Raises:
    DivergedError: if more steps in a row were skipped than may be.
  """
  make = streaming_lib.Program if _on_disk(train) else Program
  program = make(trainer, choices, seeds, train, valid)
  form, done = train_checkpoints.StateLayout(trainer, program.axes), 0
  found = keep.latest(form, program.run) if keep else None
  if found:
    turn, program.run, sums = found
    done = turn // program.num_turns
    program.sums = streaming_lib.Sums(sums)
  resumed(done, program.sums.num_steps)

  def ask():
    return hosts.any_process([stop(), bool(keep and keep.due())])

  def save(valid_loss):
    turn = done * program.num_turns + program.sums.num_steps
    keep.save(turn, form, program.run, valid_loss, program.sums.state())

  def between():
    asked, due = ask()
    if keep and (asked or due):
      # Not known yet, hence not the best.
      save(np.inf)
    return asked

  over = _over(trainer, program.run.best, done, num_epochs)
  while not over:
    log = program(done, between)
    if log is None:
      break
    log = jax.device_get(log)
    observe(done, log)
    if np.any(log["skipped"]):
      skipped(_skipped(program, done, log["skipped"]))
      _check_diverged(trainer, choices, seeds, done, log["skipped"])
    asked, due = ask()
    done += 1
    over = asked or _over(trainer, program.run.best, done, num_epochs)
    if keep and (over or due):
      save(np.mean(log["valid_loss"]))
  if keep:
    keep.close()
  return hosts.to_host(program.run.best)


def _skipped(program, epoch, counts):
  return [
    Skipped(r, s, epoch, step, program.examples(epoch, s, step))
    for r, s, step in np.argwhere(counts).tolist()
  ]


def _check_diverged(trainer, choices, seeds, epoch, counts):
  if np.max(counts) >= trainer.max_skipped:
    r, s, step = np.argwhere(counts >= trainer.max_skipped)[0]
    raise DivergedError(
      f"epoch {epoch + 1}, step {step + 1}: the gradient of"
      f" {choices[r].variant}, seed {seeds[s]}, was not finite"
      f" {counts[r, s, step]} times in a row: lower --learning_rate, or set"
      " --max_norm; the log names the examples."
    )


def _on_disk(split):
  whole = isinstance(split, types.Split)
  return whole and isinstance(split.batch, batch_source.DiskBatches)


class Program:
  """All runs, compiled as one program that takes them an epoch further.

  Attributes:
    run: their state, `[R, S, ...]`.
    axes: what of it is spread over devices.
    num_turns: in which an epoch is done: it is one program.
    sums: none, of an epoch that has begun.
  """

  num_turns = 1

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    choices: Sequence[vectorized_runs.RunSpec],
    seeds: Sequence[int],
    train: types.Split | placement.Placed,
    valid: types.Split | placement.Placed,
  ):
    """Starts every run.

    Args:
      trainer: what to train.
      choices: R cells.
      seeds: S of them.
      train: training split.
      valid: validation split.
    """
    train = _placed(train, trainer.batch_size)
    valid = _placed(valid, jax.device_count())
    self._splits, self._layout = (train.split, valid.split), train.layout
    self._trainer, self.sums = trainer, streaming_lib.Sums()
    self._cells = vectorized_runs.stack_params(trainer.rule, choices)
    self._seeds = jnp.asarray(seeds)
    self.run, self.axes = vectorized_runs.init(
      trainer, len(choices), self._seeds, train.split
    )
    advance = device_map.parallelise(
      vectorized_runs.map_runs(
        functools.partial(
          epoch_lib.run_epoch, trainer, train.layout.num_examples
        ),
        (
          vectorized_runs.PER_RUN,
          vectorized_runs.PER_SETTING,
          vectorized_runs.PER_SEED,
          vectorized_runs.SHARED,
          vectorized_runs.of_split(train.split, devices=True),
          vectorized_runs.of_split(valid.split, devices=True),
        ),
        in_turn=len(choices) > 1 and jax.default_backend() == "cpu",
      ),
      (self.axes, *[device_map.REPLICATED] * 3, *[device_map.SHARDED] * 2),
      (self.axes, device_map.REPLICATED),
      how=trainer.parallelism,
      donate_first=True,
    )
    self._advance = advance.compile(
      self.run, self._cells, self._seeds, 0, *self._splits
    )

  def num_bytes(self) -> int:
    """Memory of a device that an epoch needs, the data included."""
    return self._advance.num_bytes()

  def __call__(
    self, epoch: int, between: Callable[[], bool] = lambda: False
  ) -> dict[str, chex.Array]:
    """Trains an epoch.

    Args:
      epoch: its number, from 0.
      between: not called: there is nothing between.

    Returns:
      What the runs log, `[R, S, ...]`.
    """
    del between
    self.run, log = self._advance(
      self.run, self._cells, self._seeds, epoch, *self._splits
    )
    return log

  def examples(self, epoch: int, seed: int, step: int) -> np.ndarray:
    """Which examples this process put into a batch.

    Args:
      epoch: its number.
      seed: position of the seed.
      step: of the epoch.

    Returns:
      Their numbers.
    """
    slots = placement.my_slots(self._layout.num_slots)
    order = self._trainer.order(
      self._seeds[seed], epoch, slots, self._layout.num_examples
    )
    return self._layout.rows(slots)[np.arange(len(slots)), order[step]]


def _over(trainer, best, done, num_epochs):
  """Whether the budget is spent, or every run has waited in vain."""
  if trainer.patience is None or not done or done >= num_epochs:
    return done >= num_epochs
  return done - 1 - max(int(np.max(best.epoch)), 0) >= trainer.patience


class Predictor:
  """Outputs of one cell's runs, compiled once for all splits of a shape."""

  def __init__(self, trainer: trainer_lib.Trainer):
    """Compiles nothing yet.

    Args:
      trainer: what was trained.
    """
    self._trainer, self._compiled = trainer, {}

  def __call__(
    self,
    cell: state_lib.RunParams,
    params: chex.ArrayTree,
    guide: state_lib.UnseenPrior | None,
    split: types.Split,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Predicts a split, targets not read.

    Args:
      cell: what the runs are about.
      params: `[S, ...]`.
      guide: `[S, ...]`, or None to weigh equally.
      split: examples; `unimodal` is `[S, M, N, K]`.

    Returns:
      Outputs `[S, U, N, K]` and the weights used `[S, N, M]`.
    """
    trainer = self._trainer
    if isinstance(split.batch, batch_source.DiskBatches):
      return streaming_lib.predict(trainer, cell, params, guide, split)
    split = split._replace(batch=split.batch._replace(target=None))
    axes = vectorized_runs.of_split(split)[0]
    if axes not in self._compiled:
      self._compiled[axes] = device_map.parallelise(
        jax.vmap(
          functools.partial(epoch_lib.predict, trainer), (0, 0, None, axes)
        ),
        (
          vectorized_runs.params_axes(trainer, params, 1),
          *[device_map.REPLICATED] * 2,
          device_map.SHARDED,
        ),
        device_map.SHARDED,
        how=trainer.parallelism,
      )
    placed = _placed(split, jax.device_count())
    outputs, weights = self._compiled[axes](params, guide, cell, placed.split)
    return (
      placement.restore(placed.layout, outputs),
      placement.restore(placed.layout, weights),
    )


def _placed(split, num_slots):
  """A split on the devices, if it is not there yet."""
  if isinstance(split, placement.Placed):
    return split
  num_examples = split.batch.present.shape[-2]
  return placement.place(split, plans.SlotLayout(num_examples, num_slots))
