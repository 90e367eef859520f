"""The same training for sets that stay on disk: one program call per batch.

All seeds see the same batches, in the order that the first one would see them
in, so that every example is read once per epoch.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.data import plans
from btw_jax.training import data_parallel
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import runs
from btw_jax.training import sources
from btw_jax.training import state as state_lib
from btw_jax.training import step as step_lib

# Examples that are predicted at a time.
_CHUNK = 256
# Of a split whose examples are shared and whose unimodal outputs are not.
_SPLIT = (state_lib.Split(None, 0), None)


class Program:
  """All runs, taken an epoch further batch by batch.

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
      seeds: S of them; the first decides on the order of examples.
      train: training split, its batch a `sources.Source`.
      valid: validation split, likewise.
    """
    self._trainer, self._train, self._valid = trainer, train, valid
    self._cells = runs.stack_cells(trainer.rule, choices)
    self._seeds = jnp.asarray(seeds)
    self._small = train._replace(batch=train.batch.small)
    self._order = jax.jit(trainer.order, static_argnums=2)
    run, cell, seed, every = (
      runs.OF_RUN, runs.OF_CELL, runs.OF_SEED, runs.OF_ALL,
    )  # fmt: skip

    def mapped(function, *axes, donate=False):
      return data_parallel.parallelise(
        runs.map_runs(function, axes), donate_first=donate
      )

    self._steps = _of_buckets(
      trainer, train.batch,
      lambda own: mapped(
        own.batch_step, run, cell, seed, every, every, donate=True
      ),
    )  # fmt: skip
    self._outputs = _of_buckets(
      trainer, train.batch,
      lambda own: mapped(
        functools.partial(epoch_lib.train_outputs, own),
        run, cell, every, every,
      ),
    )  # fmt: skip
    self._predict = _of_buckets(
      trainer, valid.batch,
      lambda own: mapped(
        functools.partial(epoch_lib.predict, own), run, run, cell, _SPLIT
      ),
    )  # fmt: skip
    self._refresh = mapped(
      functools.partial(epoch_lib.refresh, trainer), cell, _SPLIT, run
    )
    self._guide = mapped(epoch_lib.guide_after, run, run, every)
    self._close = mapped(
      functools.partial(epoch_lib.close, trainer),
      run, cell, every, every, run, run, every,
    )  # fmt: skip
    one = state_lib.Split(train.batch.first(), None)
    self.run = runs.init(trainer, len(choices), self._seeds, one)

  def __call__(self, epoch: int) -> dict[str, chex.Array]:
    """Trains an epoch.

    Args:
      epoch: its number, from 0.

    Returns:
      What the runs log, `[R, S, ...]`.
    """
    log = self._train_epoch(epoch)
    refreshed = guide = None
    if self._trainer.rule.weighs:
      refreshed = self._refreshed(epoch)
      guide = self._guide(self.run, refreshed, self._small.batch.present)
    outputs, _ = _predict(
      self._predict, self.run.train.params, guide, self._cells, self._valid
    )
    self.run, closing = self._close(
      self.run,
      self._cells,
      epoch,
      self._small.batch.present,
      refreshed,
      outputs,
      self._valid.batch.small,
    )
    return log | closing

  def _train_epoch(self, epoch):
    source, trainer = self._train.batch, self._trainer
    order = self._order(self._seeds[0], epoch, len(source.examples))
    plan = plans.shuffled(np.asarray(order), source.bucket, trainer.batch_size)
    sums = []
    for planned, batch in source.batches(plan):
      step = self._steps[planned.bucket]
      self.run, found = step(
        self.run, self._cells, self._seeds, batch, planned.rows
      )
      sums.append(found)
    total = jax.tree.map(
      lambda *x: np.sum(np.stack(x), axis=0), *jax.device_get(sums)
    )
    return trainer.training_log(total, len(plan))

  def _refreshed(self, epoch):
    if not epoch_lib.due(self._trainer, epoch):
      return epoch_lib.kept(self.run)
    source, found = self._train.batch, []
    for planned, batch in source.batches(_plan(source)):
      outputs = self._outputs[planned.bucket](
        self.run, self._cells, batch, planned.rows
      )
      found.append((planned, np.asarray(outputs)))
    outputs = sources.fill(found, len(source.examples))
    return self._refresh(self._cells, self._small, outputs)


def predict(
  trainer: step_lib.Trainer,
  cell: state_lib.Cell,
  params: chex.ArrayTree,
  guide: state_lib.Guide | None,
  split: state_lib.Split,
) -> tuple[np.ndarray, np.ndarray]:
  """Outputs of one cell's runs for a split on disk, targets not read.

  Args:
    trainer: what was trained.
    cell: what the runs are about.
    params: `[S, ...]`.
    guide: `[S, ...]`, or None to weigh equally.
    split: its batch a `sources.Source`; `unimodal` is `[S, M, N, K]`.

  Returns:
    Outputs `[S, U, N, K]` and the weights used `[S, N, M]`.
  """
  of_buckets = _of_buckets(
    trainer,
    split.batch,
    lambda own: data_parallel.parallelise(
      jax.vmap(
        functools.partial(epoch_lib.predict, own), (0, 0, None, _SPLIT[0])
      )
    ),
  )
  return _predict(of_buckets, params, guide, cell, split)


def _predict(of_buckets, params, guide, cell, split):
  """Outputs `[..., U, N, K]` and weights `[..., N, M]`, batch by batch."""
  source, outputs, weights = split.batch, [], []
  unimodal = None if guide is None else np.asarray(split.unimodal)
  for planned, batch in source.batches(_plan(source)):
    own = None if unimodal is None else unimodal[:, :, planned.rows]
    part = state_lib.Split(batch._replace(target=None), own)
    found = jax.device_get(
      of_buckets[planned.bucket](params, guide, cell, part)
    )
    outputs.append((planned, found[0]))
    weights.append((planned, found[1]))
  count = len(source.examples)
  return sources.fill(outputs, count), sources.fill(weights, count)


def _plan(source):
  size = min(_CHUNK, len(source.examples))
  return plans.in_order(source.bucket, size)


def _of_buckets(
  trainer: step_lib.Trainer,
  source: sources.Source,
  make: Callable[[step_lib.Trainer], Any],
) -> list[Any]:
  """Of each bucket, what is made of a trainer for batches of its shape."""
  found = []
  for bucket in range(len(source.buckets.num_steps)):
    sizes = dataclasses.replace(
      trainer.network.sizes, num_steps=sources.num_steps(source, bucket)
    )
    network = trainer.network.clone(sizes=sizes)
    found.append(make(dataclasses.replace(trainer, network=network)))
  return found
