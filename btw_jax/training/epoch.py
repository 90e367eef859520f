"""An epoch as pure functions: its steps, the refresh, the validation.

`run_epoch` composes them for a set on the device, as one program; `streamed`
calls the same ones batch by batch.
"""

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import types
from btw_jax import weighting
from btw_jax.parallel import device_map
from btw_jax.training import model_groups
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib


def run_epoch(
  trainer: trainer_lib.Trainer,
  num_examples: int,
  run: state_lib.RunState,
  cell: state_lib.RunParams,
  seed: chex.Array,
  epoch: chex.Array,
  train: types.Split,
  valid: types.Split,
) -> tuple[state_lib.RunState, dict[str, chex.Array]]:
  """One pass over the shuffled training set, then weights and validation.

  Args:
    trainer: what is trained.
    num_examples: N of the training set, static.
    run: the run.
    cell: what the run is about.
    seed: scalar int.
    epoch: scalar int, from 0.
    train: this device's part of the training set, `[n, ...]`, slot by slot of
      a `plans.SlotLayout`; a remainder smaller than a batch is left out, a
      different one every epoch.
    valid: this device's part of the validation split.

  Returns:
    The run after the epoch, and what to log: train_loss, train_score,
    valid_loss, valid_score `[U]`, and weights `[M]`, alpha if weighted.
  """
  state, log = train_epoch(trainer, num_examples, run, cell, seed, epoch, train)
  run = run._replace(train=state)
  refreshed = None
  if trainer.rule.weighs:

    def anew():
      outputs = train_outputs(trainer, run, cell, train.batch)
      return refresh(trainer, num_examples, cell, seed, epoch, train, outputs)

    # On CPU a conditional costs as much as a refresh.
    every = trainer.rule.refresh_every == 1
    refreshed = anew() if every else jax.lax.cond(
      due(trainer, epoch), anew, lambda: kept(run)
    )  # fmt: skip
  guide = guide_after(trainer, run, refreshed, train.batch.present)
  outputs, _ = predict(trainer, state.params, guide, cell, valid)
  run, closing = close(
    trainer,
    run,
    cell,
    epoch,
    train.batch.present,
    refreshed,
    outputs,
    valid.batch,
  )
  return run, log | closing


def train_epoch(
  trainer: trainer_lib.Trainer,
  num_examples: int,
  run: state_lib.RunState,
  cell: state_lib.RunParams,
  seed: chex.Array,
  epoch: chex.Array,
  train: types.Split,
) -> tuple[state_lib.TrainState, dict[str, chex.Array]]:
  """The steps of an epoch, as one scan over shuffled indices.

  Args:
    trainer: what is trained.
    num_examples: N of the training set, static.
    run: the run.
    cell: what the run is about.
    seed: scalar int.
    epoch: scalar int, from 0.
    train: this device's part of the training set.

  Returns:
    What the steps changed, and train_loss and train_score `[U]`, skipped `[T]`
    as `Trainer.step` tells it; with experts also routing `[L, M, E]`, the share
    of a modality's gates that each expert got, and the mean of each penalty.
  """
  slots = device_map.my_slots(trainer.batch_size, trainer.axis_name)
  order = trainer.order(seed, epoch, slots, num_examples)
  length = train.batch.present.shape[0] // len(slots)
  order = order + jnp.arange(len(slots)) * length

  present = train.batch.present
  table = trainer.table(run, present)

  def multiply(table, present):
    return weighting.multipliers(
      table, present, strength=cell.strength, scale=cell.scale
    )

  # Once for all steps where there is room: weights rest within an epoch, and on
  # CPU each of these small operations costs a step more than the whole set
  # costs an epoch.
  whole = (
    multiply(table, present) if len(present) <= chunked.CHUNK_SIZE else None
  )
  importance = trainer.importance(run, cell)

  def body(state, rows):
    batch = jax.tree.map(lambda x: x[rows], train.batch)
    own = multiply(table[rows], batch.present) if whole is None else whole[rows]
    counts = None if importance is None else importance[rows]
    return trainer.step(state, batch, own, seed, counts)

  state, sums = jax.lax.scan(body, run.train, order)
  skipped = sums.pop("skipped")
  sums = jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)
  sums["skipped"] = skipped
  return state, trainer.training_log(sums, len(order))


def train_outputs(
  trainer: trainer_lib.Trainer,
  run: state_lib.RunState,
  cell: state_lib.RunParams,
  batch: types.Batch,
  rows: chex.Array | slice = slice(None),
) -> chex.Array:
  """Outputs `[n, K]` of the multimodal model for training examples.

  Args:
    trainer: what is trained.
    run: the run.
    cell: what the run is about.
    batch: the examples.
    rows: where they are in this device's part of the table.

  Returns:
    What a refresh compares with the unimodal outputs.
  """

  def outputs_of(examples):
    batch, table = examples
    multipliers = weighting.multipliers(
      table, batch.present, strength=cell.strength, scale=cell.scale
    )
    outputs, _ = trainer.apply(run.train.params, batch, multipliers)
    return outputs[0]

  batch = batch._replace(target=None)
  return chunked.map_chunks(
    outputs_of,
    (batch, trainer.table(run, batch.present, rows)),
    trainer.at_once,
  )


def due(trainer: trainer_lib.Trainer, epoch: chex.Array) -> chex.Array:
  """Whether an epoch ends with a refresh.

  Args:
    trainer: what is trained.
    epoch: scalar int, from 0.

  Returns:
    Scalar bool.
  """
  return epoch % trainer.rule.refresh_every == 0


def refresh(
  trainer: trainer_lib.Trainer,
  num_examples: int,
  cell: state_lib.RunParams,
  seed: chex.Array,
  epoch: chex.Array,
  train: types.Split,
  outputs: chex.Array,
) -> state_lib.Refreshed:
  """New weights of the training set, and the information behind them.

  Args:
    trainer: what is trained.
    num_examples: N of the training set, static.
    cell: what the run is about.
    seed: scalar int.
    epoch: scalar int, from 0.
    train: this device's part of the training set, its features not read.
    outputs: `[n, K]` of the multimodal model.

  Returns:
    The weights before they are averaged with earlier ones.
  """
  # Nothing of a refresh is made, or copied, before the outputs are there.
  train, outputs = jax.lax.optimization_barrier((train, outputs))
  # An example whose outputs are not finite must not spoil all others' weights.
  sound = jnp.all(jnp.isfinite(outputs), axis=-1, keepdims=True)
  present = train.batch.present
  outputs = jnp.where(sound, outputs, 0.0)
  pair = trainer.task.predict(train.unimodal), trainer.task.predict(outputs)
  slots = device_map.my_slots(trainer.batch_size, trainer.axis_name)
  information = trainer.rule.information(
    *pair,
    present & sound,
    rows=trainer.sample(seed, epoch, slots, num_examples),
    axis_name=trainer.axis_name,
  )

  def weigh(examples):
    unimodal, outputs, present = examples
    return trainer.rule.weigh(
      trainer.task.predict(unimodal),
      trainer.task.predict(outputs),
      present,
      information,
      cell.variant,
    )

  # In parts, so that a large set takes little more than its table.
  examples = train.unimodal, outputs, present
  new = chunked.map_chunks(weigh, examples, axes=(1, 0, 0))
  counts = trainer.rule.weigh_examples(
    *pair, present & sound, cell.variant, axis_name=trainer.axis_name
  )
  return state_lib.Refreshed(new, information, counts)


def kept(run: state_lib.RunState) -> state_lib.Refreshed:
  """What an epoch without a refresh goes on with.

  Args:
    run: the run.

  Returns:
    The weights and the information that it has.
  """
  weights = run.weights
  return state_lib.Refreshed(
    weights.average.table, weights.information, weights.examples
  )


def guide_after(
  trainer: trainer_lib.Trainer,
  run: state_lib.RunState,
  refreshed: state_lib.Refreshed | None,
  present: chex.Array,
) -> state_lib.UnseenPrior | None:
  """How unseen examples are weighed after an epoch; None if nothing is.

  Args:
    trainer: what is trained.
    run: the run, its weights those of before the refresh.
    refreshed: what the epoch's refresh gave.
    present: `[N, M]` of the training split.

  Returns:
    The guide.
  """
  if refreshed is None:
    return None
  average = run.weights.average
  prior = weighting.prior(average.table, present, axis_name=trainer.axis_name)
  return state_lib.UnseenPrior(prior, average.alpha, refreshed.information)


def close(
  trainer: trainer_lib.Trainer,
  run: state_lib.RunState,
  cell: state_lib.RunParams,
  epoch: chex.Array,
  present: chex.Array,
  refreshed: state_lib.Refreshed | None,
  outputs: chex.Array,
  valid: types.Batch,
) -> tuple[state_lib.RunState, dict[str, chex.Array]]:
  """Validates, averages the weights and keeps the best epoch.

  Args:
    trainer: what is trained.
    run: the run after the steps of the epoch.
    cell: what the run is about.
    epoch: scalar int, from 0.
    present: `[N, M]` of the training split.
    refreshed: what the refresh gave, or `kept`; None if nothing is weighed.
    outputs: `[U, N, K]` for the validation split, weighed by `guide_after`.
    valid: validation split, its features not read.

  Returns:
    The run after the epoch, and valid_loss, valid_score `[U]`, and weights
    `[M]`, alpha if weighted.
  """
  guide = guide_after(trainer, run, refreshed, present)
  loss, score = trainer.measure(outputs, valid)
  log = {"valid_loss": loss, "valid_score": score}
  weights = run.weights
  if refreshed is not None:
    average = weighting.update(weights.average, refreshed.table, loss[0])
    average = jax.tree.map(
      lambda a, b: jnp.where(due(trainer, epoch), a, b),
      average,
      weights.average,
    )
    counts = refreshed.examples
    if counts is not None:
      # As the table: an epoch without a refresh brings what there is.
      before = weights.examples
      counts = before + weights.average.alpha * (counts - before)
    weights = state_lib.Weights(average, refreshed.information, counts)
    log |= {
      "weights": weighting.prior(
        average.table,
        present,
        strength=cell.strength,
        axis_name=trainer.axis_name,
      ),
      "alpha": average.alpha,
    }
  params = run.train.params
  best = model_groups.keep_best(
    run.best,
    loss,
    epoch,
    params,
    guide,
    trainer.network.models(params),
    trainer.patience,
  )
  return state_lib.RunState(run.train, weights, best), log


def predict(
  trainer: trainer_lib.Trainer,
  params: chex.ArrayTree,
  guide: state_lib.UnseenPrior | None,
  cell: state_lib.RunParams,
  split: types.Split,
) -> tuple[chex.Array, chex.Array]:
  """Outputs for examples that the weights have no history of.

  Args:
    trainer: what is trained.
    params: the network's parameters.
    guide: what training left for weighing them; None weighs them equally.
    cell: what the run is about.
    split: the examples, their targets not read.

  Returns:
    Outputs `[U, N, K]`, and the weights used `[N, M]`, strength applied.
  """

  def of_examples(examples):
    batch, unimodal = examples
    present = batch.present
    embeddings = trainer.apply(params, batch, method="encode")

    def outputs_of(weights):
      multipliers = weighting.multipliers(
        weights, present, strength=cell.strength, scale=cell.scale
      )
      outputs, _ = trainer.apply(
        params, embeddings, batch, multipliers, method="fuse"
      )
      return outputs

    def reweigh(weights):
      return trainer.rule.weigh(
        trainer.task.predict(unimodal),
        trainer.task.predict(outputs_of(weights)[0]),
        present,
        guide.information,
        cell.variant,
      )

    weights = weighting.uniform(present)
    if guide is not None:
      weights = weighting.unseen(
        reweigh,
        guide.prior,
        guide.alpha,
        present,
        num_refinements=trainer.rule.num_refinements,
      )
    outputs = jnp.swapaxes(outputs_of(weights), 0, 1)
    return outputs, _effective(weights, cell, present)

  unimodal = None if guide is None else split.unimodal
  outputs, weights = chunked.map_chunks(
    of_examples,
    (split.batch._replace(target=None), unimodal),
    trainer.at_once,
    axes=(0, None if unimodal is None else 1),
  )
  return jnp.swapaxes(outputs, 0, 1), weights


def _effective(weights, cell, present):
  """Weights with the strength applied: rows sum to 1."""
  return weighting.uniform(present) * weighting.multipliers(
    weights, present, strength=cell.strength
  )
