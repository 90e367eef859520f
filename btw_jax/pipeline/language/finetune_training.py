"""Fine-tuning with weights of examples: all runs by the one training loop."""

from collections.abc import Mapping
import contextlib
import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import errors
from btw_jax import hooks
from btw_jax import types
from btw_jax.data import plans
from btw_jax.data.questions import question_set
from btw_jax.parallel import device_map
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline.language import finetune_network as network_lib
from btw_jax.pipeline.language import run as run_lib
from btw_jax.training import loop
from btw_jax.training import sampling
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs

# Validation questions, for the log only: the last epoch is kept.
_NUM_VALID = 240
_WARMUP_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of a fine-tuning.

  Attributes:
    num_seeds: S, runs of each variant; seed s starts from model s modulo their
      number, with an order of examples and factors of its own.
    num_epochs: number of epochs.
    batch_size: questions of a step, over all devices.
    learning_rate: the largest one of AdamW; it falls as a cosine.
    rank: of the change of a kernel.
  """

  num_seeds: int = 10
  num_epochs: int = 5
  batch_size: int = 128
  learning_rate: float = 3e-3
  rank: int = 8


class _KeepSeed(hooks.Hook):
  """A hook whose state is the seed of the run."""

  def init(self, seed: chex.Array) -> chex.Array:
    """Returns the seed."""
    return jnp.asarray(seed, jnp.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuner(trainer_lib.Trainer):
  """A trainer that weighs the examples of each model in its own way.

  Attributes:
    factors: `[U, S, N]` factor of each example in the loss of each of the U
      models that are trained together.
  """

  factors: chex.Array
  hook: hooks.Hook = dataclasses.field(default_factory=_KeepSeed)

  def importance(
    self, run: state_lib.RunState, run_params: state_lib.RunParams
  ) -> chex.Array:
    """Returns the factors `[n, U]` in the loss of this device's examples."""
    del run_params
    of_seed = self.factors[:, run.train.hook_state]
    layout = plans.SlotLayout(self.factors.shape[-1], self.batch_size)
    slots = device_map.device_slots(self.batch_size, self.axis_name)
    rows = jnp.asarray(layout.rows(range(self.batch_size)))[slots]
    return of_seed[:, rows.reshape(-1)].T

  def steps(
    self,
    state: state_lib.TrainState,
    batch: types.Batch,
    multipliers: chex.Array | None,
    seed: chex.Array,
    importance: chex.Array | None = None,
    run_params: state_lib.RunParams | None = None,
  ) -> tuple[state_lib.TrainState, chex.ArrayTree]:
    """Takes the step on a batch; its `importance` is `[B, U]`."""
    # Losses are `[U, B]`.
    importance = jnp.swapaxes(importance, 0, 1)
    return super().steps(
      state, batch, multipliers, seed, importance, run_params
    )


def check(num_questions: int, options: Options) -> None:
  """Checks that a batch fits.

  Raises:
    InputError: if it does not.
  """
  batch_size, num_devices = options.batch_size, jax.device_count()
  if batch_size % num_devices or batch_size > num_questions:
    raise errors.InputError(
      f"--batch_size={batch_size}: give a multiple of the {num_devices} devices"
      f" that is at most the number of questions, {num_questions}."
    )


def make_trainer(
  run: run_lib.FinishedRun, factors: chex.Array, options: Options
) -> FineTuner:
  """Makes the trainer of a run's models.

  Args:
    run: the models.
    factors: `[U, S, N]` factor of each question in the loss.
    options: the settings.
  """
  trainer, (num_models, _, num_examples) = run.setup.trainer, factors.shape
  num_steps = num_examples // options.batch_size * options.num_epochs

  def start(seed):
    base = jax.tree.map(lambda x: x[seed % len(x)], run.params)
    key = sampling.stream_key(seed, sampling.INIT)
    return network_lib.init_params(key, base, options.rank, num_models)

  return FineTuner(
    network_lib.AdaptedNetwork(trainer.network.sizes, num_models),
    trainer.task,
    _optimizer(options.learning_rate, num_steps),
    options.batch_size,
    max_norm=trainer.max_norm,
    parallelism=trainer.parallelism,
    start=start,
    factors=jnp.asarray(factors, jnp.float32),
  )


def fit(
  run: run_lib.FinishedRun,
  questions: question_set.QuestionSet,
  weights: Mapping[str, np.ndarray],
  options: Options,
) -> dict[str, chex.ArrayTree]:
  """Fine-tunes with each variant of weights, all in one program.

  The variants of a seed are models that are trained together: they share the
  batches and all layers that stay as they are.

  Args:
    run: the models.
    questions: N questions.
    weights: U variants -> `[S, N]` factor of each question in the loss.
    options: the settings.

  Returns:
    Variant -> parameters `[S, ...]` of the language network after the last
    epoch.
  """
  trainer = make_trainer(run, np.stack([*weights.values()]), options)
  valid = run.setup.questions("valid", _NUM_VALID)
  progress = progress_lib.Progress(1, options.num_epochs)

  def on_epoch(epoch, log):
    del epoch
    loss = np.mean(log["valid_loss"])
    progress.advance(f"mean validation loss {loss:.3f}")

  with contextlib.closing(progress):
    progress.begin("fine-tuning", options.num_epochs)
    best = loop.fit(
      trainer,
      [setting(len(weights), options.num_epochs)],
      range(options.num_seeds),
      *(types.Split(x.to_batch(), None) for x in (questions, valid)),
      num_epochs=options.num_epochs,
      callbacks=loop.Callbacks(on_epoch=on_epoch),
    )
  params = vectorized_runs.select_setting(best.params, 0)
  merged = _MERGE(params[network_lib.BASE], params[network_lib.FACTORS])
  return {
    name: jax.tree.map(lambda x, u=u: x[:, u], merged)
    for u, name in enumerate(weights)
  }


def setting(num_models: int, num_epochs: int) -> vectorized_runs.RunSpec:
  """Returns the setting of a `FineTuner` of U models: keeps the last epoch."""
  last_epoch = (num_epochs - 1,) * num_models
  return vectorized_runs.RunSpec("uniform", 0.0, 1.0, last_epoch=last_epoch)


def _optimizer(learning_rate, num_steps):
  """Returns AdamW for the factors; the language network stays as it is."""
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, learning_rate, round(_WARMUP_SHARE * num_steps), num_steps
  )
  return optax.partition(
    {
      network_lib.FACTORS: optax.adamw(schedule, weight_decay=0.0),
      network_lib.BASE: optax.set_to_zero(),
    },
    {name: name for name in (network_lib.FACTORS, network_lib.BASE)},
  )


# Of U models of each of S seeds.
_MERGE = jax.jit(jax.vmap(jax.vmap(network_lib.merge, (None, 0))))
