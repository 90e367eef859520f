"""An epoch as one pure function: its steps, the refresh, the validation.

`run_epoch` composes them for data in memory, as one compiled program.
`training.streaming` calls the same functions batch by batch.
"""

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import types
from btw_jax import weighting
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.training import crossfit
from btw_jax.training import model_groups
from btw_jax.training import prediction
from btw_jax.training import sampling
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import weight_refresh


def run_epoch(
  trainer: trainer_lib.Trainer,
  num_examples: int,
  valid_layout: plans.SlotLayout,
  run: state_lib.RunState,
  run_params: state_lib.RunParams,
  seed: chex.Array,
  epoch: chex.Array,
  train: types.Split,
  valid: types.Split,
) -> tuple[state_lib.RunState, dict[str, chex.Array]]:
  """Trains one pass over the training set, refreshes weights and validates.

  Args:
    trainer: the trainer.
    num_examples: N of the training set, static.
    valid_layout: of the validation split, static.
    run: the state of the run.
    run_params: variant, strength and scale of the run.
    seed: scalar int.
    epoch: scalar int, from 0.
    train: this device's part of the training set, `[n, ...]`, slot by slot of
      a `plans.SlotLayout`. A remainder smaller than a batch is left out, a
      different one every epoch.
    valid: this device's part of the validation split.

  Returns:
    The state after the epoch, and its log: train_loss, train_score,
    valid_loss, valid_score `[U]`, and weights `[M]`, alpha if weighted.
  """
  state, log = train_epoch(
    trainer, num_examples, run, run_params, seed, epoch, train
  )
  run = run._replace(train=state)
  refreshed = None
  if trainer.rule.weighs:
    refreshed = _refresh(
      trainer, num_examples, run, run_params, seed, epoch, train, valid
    )
  unseen_prior = weight_refresh.unseen_prior_after(
    trainer, run, run_params, refreshed, train.batch.present
  )
  outputs, _ = prediction.predict(
    trainer, state.params, unseen_prior, run_params, valid
  )
  run, closing_log = finish_epoch(
    trainer,
    valid_layout,
    run,
    run_params,
    epoch,
    train.batch.present,
    refreshed,
    unseen_prior,
    outputs,
    valid.batch,
  )
  return run, log | closing_log


def _refresh(trainer, num_examples, run, run_params, seed, epoch, train, valid):
  """Refreshes the weights if they are due; the arguments are `run_epoch`'s."""

  def refresh():
    outputs = weight_refresh.train_outputs(
      trainer, run, run_params, train.batch
    )
    informing = None
    if trainer.rule.information_from == "valid":
      kept = weight_refresh.keep_weights(run)
      prior = weight_refresh.unseen_prior_after(
        trainer, run, run_params, kept, train.batch.present
      )
      valid_outputs, _ = prediction.predict(
        trainer, run.train.params, prior, run_params, valid
      )
      informing = (valid, valid_outputs)
    return weight_refresh.refresh(
      trainer, num_examples, run_params, seed, epoch, train, outputs, informing
    )

  # On CPU a conditional costs as much as a refresh, so none is compiled where
  # every epoch has one.
  if trainer.rule.refresh_every == 1:
    return refresh()
  return jax.lax.cond(
    weight_refresh.is_due(trainer, epoch),
    refresh,
    lambda: weight_refresh.keep_weights(run),
  )


def train_epoch(
  trainer: trainer_lib.Trainer,
  num_examples: int,
  run: state_lib.RunState,
  run_params: state_lib.RunParams,
  seed: chex.Array,
  epoch: chex.Array,
  train: types.Split,
) -> tuple[state_lib.TrainState, dict[str, chex.Array]]:
  """Takes the steps of an epoch, as one scan over shuffled indices.

  The arguments are those of `run_epoch`. Returns the state after the steps, and
  `Trainer.training_log` of them.
  """
  train = train._replace(batch=run_params.gate(train.batch))
  layout = plans.SlotLayout(num_examples, trainer.batch_size)
  slots = device_map.device_slots(trainer.batch_size, trainer.axis_name)
  order = sampling.epoch_order(seed, epoch, slots, layout)
  # From places within slots to rows of this device's examples.
  length = train.batch.present.shape[0] // len(slots)
  order = order + jnp.arange(len(slots)) * length

  present = train.batch.present
  table = trainer.table(run, present)

  def multiply(table, present):
    return weighting.multipliers(
      table, present, strength=run_params.strength, scale=run_params.scale
    )

  # Weights do not change within an epoch, so the multipliers of all steps are
  # computed once where memory allows it: on CPU these small operations cost
  # each step more than the whole set costs an epoch.
  fits = len(present) <= chunked.CHUNK_SIZE
  all_multipliers = multiply(table, present) if fits else None
  importance = trainer.importance(run, run_params)

  def train_step(state, rows):
    batch = jax.tree.map(lambda x: x[rows], train.batch)
    multipliers = (
      multiply(table[rows], batch.present)
      if all_multipliers is None
      else all_multipliers[rows]
    )
    factors = None if importance is None else importance[rows]
    return trainer.steps(state, batch, multipliers, seed, factors, run_params)

  state, sums = jax.lax.scan(train_step, run.train, order)
  skipped = sums.pop("skipped")
  sums = jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)
  sums["skipped"] = skipped
  return state, trainer.training_log(sums, len(order))


def finish_epoch(
  trainer: trainer_lib.Trainer,
  valid_layout: plans.SlotLayout,
  run: state_lib.RunState,
  run_params: state_lib.RunParams,
  epoch: chex.Array,
  present: chex.Array,
  refreshed: state_lib.Refreshed | None,
  unseen_prior: state_lib.UnseenPrior | None,
  outputs: chex.Array,
  valid: types.Batch,
) -> tuple[state_lib.RunState, dict[str, chex.Array]]:
  """Validates, averages the weights and keeps the best epoch.

  `valid_layout` numbers the validation examples, static. `present` is `[N, M]`
  of the training split; `refreshed` holds the new weights or the unchanged
  ones, None without weights; `outputs` are `[U, N, K]` for the validation
  split, weighed by `unseen_prior`; its features are not read.
  Returns the state after the epoch, and the rest of the log of `run_epoch`.
  """
  values, where = trainer.measure(outputs, valid)
  loss, score = trainer.mean_over_devices(values, where)
  log = {"valid_loss": loss, "valid_score": score}
  weights = run.weights
  if refreshed is not None:
    weights = weight_refresh.average_weights(
      trainer, run, refreshed, epoch, loss[0]
    )
    log |= {
      "weights": weighting.prior(
        weights.average.table,
        present,
        strength=run_params.strength,
        axis_name=trainer.axis_name,
        sums_to_one=trainer.rule.sums_to_one(run_params.variant),
      ),
      "alpha": weights.average.alpha,
    }
  params = run.train.params
  may_improve = model_groups.may_improve(
    run.best, epoch, run_params, trainer.patience
  )
  best = model_groups.keep_best(
    run.best,
    loss,
    epoch,
    params,
    unseen_prior,
    trainer.network.model_ids(params),
    may_improve,
  )
  best = best._replace(
    crossfit=crossfit.update(
      run.best.crossfit,
      outputs,
      values[..., 0],
      where,
      may_improve,
      valid_layout,
      trainer.axis_name,
    )
  )
  hook_state = trainer.hook.end_epoch(run.train.hook_state)
  train = run.train._replace(hook_state=hook_state)
  after = state_lib.RunState(train, weights, best)
  # Some values have 64 bits under `JAX_ENABLE_X64`; the state keeps its dtypes.
  after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, run)
  return after, log
