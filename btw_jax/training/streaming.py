"""Training on data that stays on disk: one program call per batch.

Each process reads the examples of its own slots. All seeds see the same
batches, in the order that the first seed draws, so that every example is read
once per epoch.
"""

from collections.abc import Callable, Sequence
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.parallel import hosts
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import epoch_metrics
from btw_jax.training import example_source
from btw_jax.training import prediction
from btw_jax.training import predictor
from btw_jax.training import sampling
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weight_refresh

# Steps after which a runner asks whether to stop.
_STEPS_BETWEEN_CHECKS = 16
_REPLICATED, _SHARDED = device_map.REPLICATED, device_map.SHARDED


class StreamingRunner:
  """Runs of R settings and S seeds, trained batch by batch.

  Implements `loop.EpochRunner`.

  Attributes:
    run: the state of all runs, `[R, S, ...]`.
    axes: which parts of the state are sharded over devices.
    positions_per_epoch: number of batches of an epoch.
    sums: the sums of the steps of an epoch that has begun.
  """

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    specs: Sequence[vectorized_runs.RunSpec],
    seeds: Sequence[int],
    train: example_source.OnDiskExamples,
    valid: example_source.OnDiskExamples,
  ):
    """Initialises R settings x S seeds; the first seed draws the order.

    `train` must have as many slots as a batch has examples.
    """
    self._trainer, self._train, self._valid = trainer, train, valid
    self._run_params = vectorized_runs.stack_params(trainer.rule, specs)
    self._seeds = jnp.asarray(seeds)
    self._epoch_order = jax.jit(
      functools.partial(sampling.epoch_order, layout=train.layout)
    )
    self.positions_per_epoch = train.layout.num_batches
    self.sums, self._plan = epoch_metrics.EpochSums(), []
    self.run, self.axes = vectorized_runs.init(
      trainer,
      len(specs),
      self._seeds,
      train.template(),
      valid.layout.num_examples,
    )
    self._map_batch_programs()
    self._map_epoch_programs()

  @property
  def latest_best(self) -> int:
    """The latest epoch that is the best one of a model, -1 for none."""
    return int(np.max(self.run.best.epoch))

  def _map_batch_programs(self):
    """Maps the functions of a batch, once for each shape of batches."""
    run, setting, seed, shared = (
      vectorized_runs.PER_RUN,
      vectorized_runs.PER_SETTING,
      vectorized_runs.PER_SEED,
      vectorized_runs.SHARED,
    )
    params = vectorized_runs.params_axes(
      self._trainer, self.run.train.params, 2
    )
    self._steps = [
      self._map(
        trainer.batch_step,
        (run, setting, seed, shared, shared),
        (self.axes, _REPLICATED, _REPLICATED, _SHARDED, _SHARDED),
        (self.axes, _REPLICATED),
        donate_first=True,
      )
      for trainer in map(self._trainer.with_num_steps, self._train.shapes)
    ]
    self._outputs = [
      self._map(
        functools.partial(weight_refresh.train_outputs, trainer),
        (run, setting, shared, shared),
        (self.axes, _REPLICATED, _SHARDED, _SHARDED),
        _SHARDED,
      )
      for trainer in map(self._trainer.with_num_steps, self._train.shapes)
    ]
    self._predict = [
      self._map(
        functools.partial(prediction.predict, trainer),
        (run, run, setting, (self._valid.axes, None)),
        (params, _REPLICATED, _REPLICATED, _SHARDED),
        _SHARDED,
      )
      for trainer in map(self._trainer.with_num_steps, self._valid.shapes)
    ]

  def _map_epoch_programs(self):
    """Maps the functions of an epoch's end: refresh, prior and closing."""
    trainer, num_examples = self._trainer, self._train.layout.num_examples
    run, setting, seed, shared = (
      vectorized_runs.PER_RUN,
      vectorized_runs.PER_SETTING,
      vectorized_runs.PER_SEED,
      vectorized_runs.SHARED,
    )
    refreshed = None
    if trainer.rule.weighs:
      examples = _SHARDED if trainer.rule.examples else None
      refreshed = state_lib.Refreshed(_SHARDED, _REPLICATED, examples)
    self._refresh = self._map(
      functools.partial(weight_refresh.refresh, trainer, num_examples),
      (
        setting,
        seed,
        shared,
        (self._train.axes, None),
        run,
        self._informing(((self._valid.axes, 0), (None, 0))) or shared,
      ),
      (
        _REPLICATED,
        _REPLICATED,
        _REPLICATED,
        _SHARDED,
        _SHARDED,
        self._informing(_SHARDED),
      ),
      refreshed,
    )
    self._unseen_prior = self._map(
      functools.partial(weight_refresh.unseen_prior_after, trainer),
      (run, setting, run, shared),
      (self.axes, _REPLICATED, refreshed, _SHARDED),
      _REPLICATED,
    )
    self._finish = self._map(
      functools.partial(
        epoch_lib.finish_epoch, trainer, self._valid.layout
      ),
      (run, setting, shared, shared, run, run, run, shared),
      (
        self.axes, _REPLICATED, _REPLICATED, _SHARDED, refreshed, _REPLICATED,
        _SHARDED, _SHARDED,
      ),
      (self.axes, _REPLICATED),
    )  # fmt: skip

  def _map(self, function, run_axes, in_axes, out_axes, **options):
    """Maps a function of one run over settings, seeds and devices."""
    return device_map.parallelise(
      vectorized_runs.map_runs(function, run_axes),
      in_axes,
      out_axes,
      how=self._trainer.parallelism,
      **options,
    )

  def run_epoch(
    self, epoch: int, should_stop: Callable[[], bool] = lambda: False
  ) -> dict[str, chex.Array] | None:
    """Trains an epoch, or the rest of one that was stopped.

    `should_stop` is called after every few batches. Returns the log
    `[R, S, ...]`, or None if training stopped.
    """
    log = self._train_epoch(epoch, should_stop)
    if log is None:
      return None
    present = self._train.metadata.batch.present
    refreshed = unseen_prior = None
    if self._trainer.rule.weighs:
      refreshed = self._refresh_weights(epoch)
      unseen_prior = self._unseen_prior(
        self.run, self._run_params, refreshed, present
      )
    outputs = self._valid_outputs(unseen_prior)
    self.run, closing_log = self._finish(
      self.run,
      self._run_params,
      epoch,
      present,
      refreshed,
      unseen_prior,
      outputs,
      self._valid.metadata.batch,
    )
    return log | closing_log

  def batch_examples(self, epoch: int, seed: int, step: int) -> np.ndarray:
    """Returns the numbers of the examples that this process put into a batch.

    The epoch must be the latest one. All seeds see the same batches.
    """
    del epoch, seed
    return self._plan[step].rows.reshape(-1)

  def _train_epoch(self, epoch, should_stop):
    """Takes the steps of an epoch; returns its log, or None if stopped."""
    train = self._train
    self._plan = self._plan_epoch(epoch)
    pending = []
    for planned, batch, rows in train.read(
      self._plan, start=self.sums.num_steps
    ):
      self.run, sums = self._steps[planned.bucket](
        self.run, self._run_params, self._seeds, batch, rows
      )
      pending.append(sums)
      if len(pending) == _STEPS_BETWEEN_CHECKS:
        self.sums.add(pending)
        pending = []
        if self.sums.num_steps < len(self._plan) and should_stop():
          return None
    self.sums.add(pending)
    total, self.sums = self.sums.total(), epoch_metrics.EpochSums()
    return self._trainer.training_log(total, len(self._plan))

  def _plan_epoch(self, epoch):
    """Plans the batches of an epoch in the order of the first seed."""
    train = self._train
    places = self._epoch_order(self._seeds[0], epoch, train.slots)
    return plans.epoch(
      train.layout,
      train.slots,
      np.asarray(places),
      train.disk_batches.bucket,
      (int(self._seeds[0]), epoch),
      example_source.largest_bucket,
    )

  def _valid_outputs(self, unseen_prior):
    """Predicts the validation split; returns sharded `[D, R, S, U, n, K]`."""
    outputs, _ = predictor.predict_batches(
      self._predict,
      self._valid,
      self.run.train.params,
      unseen_prior,
      self._run_params,
    )
    return hosts.shard(outputs)

  def _informing(self, value):
    """Returns a value if information is estimated on the validation split."""
    return value if self._trainer.rule.information_from == "valid" else None

  def _refresh_weights(self, epoch):
    """Refreshes the weights if the epoch ends with a refresh."""
    if not weight_refresh.is_due(self._trainer, epoch):
      return weight_refresh.keep_weights(self.run)
    train, parts = self._train, []
    for planned, batch, rows in train.read(train.plan_all()):
      outputs = self._outputs[planned.bucket](
        self.run, self._run_params, batch, rows
      )
      parts.append(hosts.local_shards(outputs))
    outputs = hosts.shard(train.join(parts))
    split: types.Split = train.metadata
    informing = None
    if self._informing(True):
      kept = weight_refresh.keep_weights(self.run)
      prior = self._unseen_prior(
        self.run, self._run_params, kept, split.batch.present
      )
      informing = (self._valid.metadata, self._valid_outputs(prior))
    return self._refresh(
      self._run_params, self._seeds, epoch, split, outputs, informing
    )
