"""Stage 1, one model per modality; stage 2, the multimodal model, weighted.

Both call the same trainer. Seeds and cells (weighting x strength x scale) are
axes of one compiled program, `[R, S, ...]`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.training import data_parallel
from btw_jax.training import rule as rule_lib
from btw_jax.training import state as state_lib
from btw_jax.training import step as step_lib

# Called after every epoch with its number and what it logged, `[R, S, ...]`.
Observer = Callable[[int, dict[str, np.ndarray]], None]


class Choice(NamedTuple):
  """What one run is about.

  Attributes:
    variant: a name of `weighting.VARIANTS`.
    strength: λ in [0, 1].
    scale: the embedding scale c.
  """

  variant: str
  strength: float
  scale: float


def fit(
  trainer: step_lib.Trainer,
  choices: Sequence[Choice],
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
  program = Program(trainer, choices, seeds, train, valid)
  for epoch in range(num_epochs):
    observe(epoch, jax.device_get(program(epoch)))
    if stop() or program.finished(epoch):
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
    choices: Sequence[Choice],
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
    self._patience = trainer.patience
    self._cells = stack_cells(trainer.rule, choices)
    self._seeds = jnp.asarray(seeds)
    self._advance = data_parallel.parallelise(
      _over_runs(trainer.epoch), donate_first=True
    )
    self.run = _init(trainer, len(choices), self._seeds, train)

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

  def finished(self, epoch: int) -> bool:
    """Whether every run has waited for a better epoch in vain.

    Args:
      epoch: the number of the latest one.

    Returns:
      False where no patience is set.
    """
    if self._patience is None:
      return False
    latest = int(jnp.max(self.run.best.epoch))
    return epoch - max(latest, 0) >= self._patience


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
  split = split._replace(batch=split.batch._replace(target=None))
  mapped = jax.vmap(trainer.predict, (0, 0, None, _split_axes(split)))
  compiled = data_parallel.parallelise(mapped)
  return jax.device_get(compiled(params, guide, cell, split))


def stack_cells(
  rule: rule_lib.Rule, choices: Sequence[Choice]
) -> state_lib.Cell:
  """Choices as arrays.

  Args:
    rule: knows the variants in use.
    choices: R of them.

  Returns:
    A `Cell` of `[R]` arrays.
  """
  variants = list(rule.variants)
  return state_lib.Cell(
    variant=jnp.asarray([variants.index(c.variant) for c in choices]),
    strength=jnp.asarray([c.strength for c in choices], jnp.float32),
    scale=jnp.asarray([c.scale for c in choices], jnp.float32),
  )


def _init(trainer, num_cells, seeds, train):
  one = train._replace(unimodal=None)
  init = jax.vmap(trainer.init, (0, _split_axes(one)))

  def everywhere(seeds, one):
    run = init(seeds, one)
    return jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num_cells, *x.shape)), run
    )

  return data_parallel.parallelise(everywhere)(seeds, one)


def _over_runs(epoch):
  """Maps an epoch over seeds (inner) and cells (outer).

  Cells of one seed share its batches, masks and unimodal outputs: these stay
  unmapped in the outer axis, hence are gathered and drawn once.
  """

  def mapped(run, cells, seeds, number, train, valid):
    of_seed = jax.vmap(
      epoch,
      in_axes=(0, None, 0, None, _split_axes(train), _split_axes(valid)),
    )
    of_cell = jax.vmap(of_seed, in_axes=(0, 0, None, None, None, None))
    return of_cell(run, cells, seeds, number, train, valid)

  return mapped


def _split_axes(split):
  """Each seed has unimodal outputs of its own; examples may be shared."""
  batch = 0 if split.batch.present.ndim == 3 else None
  return state_lib.Split(batch, None if split.unimodal is None else 0)


def slice_cell(best: chex.ArrayTree, index: int) -> chex.ArrayTree:
  """The runs of one cell.

  Args:
    best: pytree of `[R, S, ...]`.
    index: a position in R.

  Returns:
    Pytree of `[S, ...]`.
  """
  return jax.tree.map(lambda x: x[index], best)
