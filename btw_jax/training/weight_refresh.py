"""The weight refresh as pure functions, for data in memory or on disk."""

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import types
from btw_jax import weighting
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.training import sampling
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib


def is_due(trainer: trainer_lib.Trainer, epoch: chex.Array) -> chex.Array:
  """Returns whether an epoch, counted from 0, ends with a refresh."""
  return epoch % trainer.rule.refresh_every == 0


def train_outputs(
  trainer: trainer_lib.Trainer,
  run: state_lib.RunState,
  run_params: state_lib.RunParams,
  batch: types.Batch,
  rows: chex.Array | slice = slice(None),
) -> chex.Array:
  """Computes the multimodal outputs `[n, K]` of training examples.

  `rows` are the rows of the examples in this device's part of the table W.
  """

  def apply_weighted(examples):
    batch, table = examples
    multipliers = weighting.multipliers(
      table, batch.present, strength=run_params.strength, scale=run_params.scale
    )
    outputs, _ = trainer.apply(run.train.params, batch, multipliers)
    return outputs[0]

  batch = batch._replace(target=None)
  return chunked.map_chunks(
    apply_weighted,
    (batch, trainer.table(run, batch.present, rows)),
    trainer.predict_chunk_size,
  )


def refresh(
  trainer: trainer_lib.Trainer,
  num_examples: int,
  run_params: state_lib.RunParams,
  seed: chex.Array,
  epoch: chex.Array,
  train: types.Split,
  outputs: chex.Array,
  informing: tuple[types.Split, chex.Array] | None = None,
) -> state_lib.Refreshed:
  """Computes new weights of the training set, before they are averaged.

  `train` is this device's part of the training set, whose features are not
  read; `outputs` are `[n, K]` of the multimodal model for it. `num_examples` is
  N of the training set, static. `informing` is the validation split and its
  outputs `[U, n, K]` if the rule takes the information from there.
  """
  # The barrier keeps XLA from computing or copying parts of the refresh before
  # the outputs exist, which would cost memory during the forward pass.
  train, outputs = jax.lax.optimization_barrier((train, outputs))
  # One example with outputs that are not finite must not make the information,
  # hence the weights of all other examples, NaN.
  outputs, finite = _finite(outputs)
  present = train.batch.present
  unimodal = trainer.task.predict(train.unimodal)
  multimodal = trainer.task.predict(outputs)
  counted = present & finite
  information = _measure_set(
    trainer, num_examples, seed, epoch, unimodal, multimodal, counted, informing
  )

  def weigh(examples):
    unimodal, outputs, present = examples
    return trainer.rule.weigh(
      trainer.task.predict(unimodal),
      trainer.task.predict(outputs),
      present,
      information,
      run_params.variant,
    )

  # In chunks, so that a large set takes little more memory than its table W.
  examples = train.unimodal, outputs, present
  table = chunked.map_chunks(weigh, examples, axes=(1, 0, 0))
  importance = trainer.rule.weigh_examples(
    unimodal,
    multimodal,
    counted,
    run_params.variant,
    axis_name=trainer.axis_name,
  )
  return state_lib.Refreshed(table, information, importance)


def _measure_set(
  trainer,
  num_examples,
  seed,
  epoch,
  unimodal,
  multimodal,
  counted,
  informing,
):
  """Returns each of the rule's statistics; the arguments are `refresh`'s.

  `counted` `[n, M]` are the examples that count for each modality. The range of
  divergences is always that of the training set.
  """
  ranges = trainer.rule.divergence_range(
    unimodal, multimodal, counted, axis_name=trainer.axis_name
  )
  if informing is not None:
    valid, valid_outputs = informing
    valid_outputs, valid_finite = _finite(valid_outputs[0])
    return ranges | trainer.rule.information(
      trainer.task.predict(valid.unimodal),
      trainer.task.predict(valid_outputs),
      valid.batch.present & valid_finite,
      axis_name=trainer.axis_name,
    )
  layout = plans.SlotLayout(num_examples, trainer.batch_size)
  slots = device_map.device_slots(trainer.batch_size, trainer.axis_name)
  return ranges | trainer.rule.information(
    unimodal,
    multimodal,
    counted,
    rows=sampling.sample_rows(
      seed, epoch, slots, layout, trainer.rule.num_samples
    ),
    axis_name=trainer.axis_name,
  )


def _finite(outputs):
  """Returns `[n, K]` outputs, 0 where not finite, and which are: `[n, 1]`."""
  finite = jnp.all(jnp.isfinite(outputs), axis=-1, keepdims=True)
  return jnp.where(finite, outputs, 0.0), finite


def keep_weights(run: state_lib.RunState) -> state_lib.Refreshed:
  """Returns the current weights unchanged, for an epoch without a refresh."""
  weights = run.weights
  return state_lib.Refreshed(
    weights.average.table, weights.information, weights.examples
  )


def unseen_prior_after(
  trainer: trainer_lib.Trainer,
  run: state_lib.RunState,
  run_params: state_lib.RunParams,
  refreshed: state_lib.Refreshed | None,
  present: chex.Array,
) -> state_lib.UnseenPrior | None:
  """Returns how an epoch weighs unseen examples; None without weights.

  The weights of `run` are those before the refresh; `present` is `[N, M]` of
  the training split.
  """
  if refreshed is None:
    return None
  average = run.weights.average
  prior = weighting.prior(
    average.table,
    present,
    axis_name=trainer.axis_name,
    sums_to_one=trainer.rule.sums_to_one(run_params.variant),
  )
  return state_lib.UnseenPrior(prior, average.alpha, refreshed.information)


def average_weights(
  trainer: trainer_lib.Trainer,
  run: state_lib.RunState,
  refreshed: state_lib.Refreshed,
  epoch: chex.Array,
  val_loss: chex.Array,
) -> state_lib.Weights:
  """Mixes the refreshed weights into the moving average.

  An epoch without a refresh leaves the average and its α as they are.
  """
  weights = run.weights
  average = weighting.update(weights.average, refreshed.table, val_loss)
  average = jax.tree.map(
    lambda new, old: jnp.where(is_due(trainer, epoch), new, old),
    average,
    weights.average,
  )
  examples = refreshed.examples
  if examples is not None:
    # Without a refresh both are equal, so nothing changes here either.
    old = weights.examples
    examples = old + weights.average.alpha * (examples - old)
  return state_lib.Weights(average, refreshed.information, examples)
