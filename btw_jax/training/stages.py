"""Stage 1, one model per modality; stage 2, the multimodal model, weighted.

Both call the same trainer. Seeds and cells (weighting x strength x scale) are
axes of one compiled program, `[R, S, ...]`.
"""

from collections.abc import Callable, Sequence
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.training import data_parallel
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import runs
from btw_jax.training import sources
from btw_jax.training import state as state_lib
from btw_jax.training import step as step_lib
from btw_jax.training import streamed

# Called after every epoch with its number and what it logged, `[R, S, ...]`.
Observer = Callable[[int, dict[str, np.ndarray]], None]


def fit(
  trainer: step_lib.Trainer,
  choices: Sequence[runs.Choice],
  seeds: Sequence[int],
  train: state_lib.Split,
  valid: state_lib.Split,
  *,
  num_epochs: int,
  observe: Observer,
  stop: Callable[[], bool] = lambda: False,
) -> state_lib.Best:
  """Trains every choice with every seed, in one program.

  Args:
    trainer: what to train; its rule must hold every variant.
    choices: R cells. All runs of a seed start from the same parameters and
      see the same batches.
    seeds: S of them.
    train: training split; `unimodal` is `[S, M, N, K]`.
    valid: validation split; `unimodal` is `[S, M, N, K]`.
    num_epochs: the budget of every run.
    observe: called after every epoch.
    stop: asked after every epoch whether to end before the budget is spent.

  Returns:
    The best epoch of every run by validation loss, `[R, S, ...]`.
  """
  from_disk = isinstance(train.batch, sources.Source)
  make = streamed.Program if from_disk else Program
  program = make(trainer, choices, seeds, train, valid)
  for epoch in range(num_epochs):
    observe(epoch, jax.device_get(program(epoch)))
    if stop() or _finished(program.run.best, epoch, trainer.patience):
      break
  return program.run.best


class Program:
  """All runs, compiled as one program that takes them an epoch further.

  Attributes:
    run: their state, `[R, S, ...]`.
  """

  def __init__(
    self,
    trainer: step_lib.Trainer,
    choices: Sequence[runs.Choice],
    seeds: Sequence[int],
    train: state_lib.Split,
    valid: state_lib.Split,
  ):
    """Starts every run.

    Args:
      trainer: what to train.
      choices: R cells.
      seeds: S of them.
      train: training split.
      valid: validation split.
    """
    self._splits = (train, valid)
    self._cells = runs.stack_cells(trainer.rule, choices)
    self._seeds = jnp.asarray(seeds)
    self._advance = data_parallel.parallelise(
      runs.map_runs(
        functools.partial(epoch_lib.run_epoch, trainer),
        (runs.OF_RUN, runs.OF_CELL, runs.OF_SEED, runs.OF_ALL,
         runs.of_split(train), runs.of_split(valid)),
      ),
      donate_first=True,
    )  # fmt: skip
    self.run = runs.init(trainer, len(choices), self._seeds, train)

  def __call__(self, epoch: int) -> dict[str, chex.Array]:
    """Trains an epoch.

    Args:
      epoch: its number, from 0.

    Returns:
      What the runs log, `[R, S, ...]`.
    """
    self.run, log = self._advance(
      self.run, self._cells, self._seeds, epoch, *self._splits
    )
    return log


def _finished(best, epoch, patience):
  """Whether every run has waited for a better epoch in vain."""
  if patience is None:
    return False
  return epoch - max(int(jnp.max(best.epoch)), 0) >= patience


def predict(
  trainer: step_lib.Trainer,
  cell: state_lib.Cell,
  params: chex.ArrayTree,
  guide: state_lib.Guide | None,
  split: state_lib.Split,
) -> tuple[np.ndarray, np.ndarray]:
  """Outputs of one cell's runs for a split, targets not read.

  Args:
    trainer: what was trained.
    cell: what the runs are about.
    params: `[S, ...]`.
    guide: `[S, ...]`, or None to weigh equally.
    split: examples; `unimodal` is `[S, M, N, K]`.

  Returns:
    Outputs `[S, U, N, K]` and the weights used `[S, N, M]`.
  """
  if isinstance(split.batch, sources.Source):
    return streamed.predict(trainer, cell, params, guide, split)
  split = split._replace(batch=split.batch._replace(target=None))
  mapped = jax.vmap(
    functools.partial(epoch_lib.predict, trainer),
    (0, 0, None, runs.of_split(split)[0]),
  )
  compiled = data_parallel.parallelise(mapped)
  return jax.device_get(compiled(params, guide, cell, split))
