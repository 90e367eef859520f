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
from btw_jax.training import sampling
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs


class InMemoryRunner:
  """Runs of R settings and S seeds, trained by one program per epoch.

  Implements `loop.EpochRunner`.

  Attributes:
    run: the state of all runs, `[R, S, ...]`.
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
  ):
    """Initialises R settings x S seeds, and compiles the epoch.

    `train` must have as many slots as a batch has examples.
    """
    self._splits, self._layout = (train.split, valid.split), train.layout
    self.sums = epoch_metrics.EpochSums()
    self._run_params = vectorized_runs.stack_params(trainer.rule, specs)
    self._seeds = jnp.asarray(seeds)
    self.run, self.axes = vectorized_runs.init(
      trainer, len(specs), self._seeds, train.split, valid.layout.num_examples
    )
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
        in_turn=len(specs) > 1 and jax.default_backend() == "cpu",
      ),
      (self.axes, *[device_map.REPLICATED] * 3, *[device_map.SHARDED] * 2),
      (self.axes, device_map.REPLICATED),
      how=trainer.parallelism,
      donate_first=True,
    )
    self._advance = advance.compile(
      self.run, self._run_params, self._seeds, 0, *self._splits
    )

  def num_bytes(self) -> int:
    """Returns the memory of a device that an epoch needs, data included."""
    return self._advance.num_bytes()

  def run_epoch(
    self, epoch: int, should_stop: Callable[[], bool] = lambda: False
  ) -> dict[str, chex.Array]:
    """Trains an epoch, counted from 0, and returns its log `[R, S, ...]`.

    `should_stop` is not called: the epoch is one program.
    """
    del should_stop
    self.run, log = self._advance(
      self.run, self._run_params, self._seeds, epoch, *self._splits
    )
    return log

  def batch_examples(self, epoch: int, seed: int, step: int) -> np.ndarray:
    """Returns the numbers of the examples of a batch of this process."""
    slots = placement.process_slots(self._layout.num_slots)
    order = sampling.epoch_order(self._seeds[seed], epoch, slots, self._layout)
    return self._layout.rows(slots)[np.arange(len(slots)), order[step]]
