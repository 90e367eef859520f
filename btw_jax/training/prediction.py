"""Prediction of examples that have no history in the weight table, pure."""

import chex
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import types
from btw_jax import weighting
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib


def predict(
  trainer: trainer_lib.Trainer,
  params: chex.ArrayTree,
  unseen_prior: state_lib.UnseenPrior | None,
  run_params: state_lib.RunParams,
  split: types.Split,
) -> tuple[chex.Array, chex.Array]:
  """Computes outputs of examples that the weights have no history of.

  `unseen_prior` tells how to weigh them; None weighs them uniformly. Targets
  are not read. Returns outputs `[U, N, K]`, and the weights used `[N, M]`,
  strength applied.
  """

  def predict_chunk(examples):
    batch, unimodal = examples
    batch = run_params.gate(batch)
    present = batch.present
    embeddings = trainer.apply(params, batch, method="encode")

    def fuse(weights):
      multipliers = weighting.multipliers(
        weights, present, strength=run_params.strength, scale=run_params.scale
      )
      outputs, _ = trainer.apply(
        params, embeddings, batch, multipliers, method="fuse"
      )
      return outputs

    def reweigh(weights):
      return trainer.rule.weigh(
        trainer.task.predict(unimodal),
        trainer.task.predict(fuse(weights)[0]),
        present,
        unseen_prior.information,
        run_params.variant,
      )

    weights = weighting.uniform(present)
    if unseen_prior is not None:
      weights = weighting.unseen(
        reweigh,
        unseen_prior.prior,
        unseen_prior.alpha,
        present,
        num_refinements=trainer.rule.num_refinements,
        sums_to_one=trainer.rule.sums_to_one(run_params.variant),
      )
    outputs = jnp.swapaxes(fuse(weights), 0, 1)
    return outputs, _with_strength(weights, run_params, present)

  unimodal = None if unseen_prior is None else split.unimodal
  outputs, weights = chunked.map_chunks(
    predict_chunk,
    (split.batch._replace(target=None), unimodal),
    trainer.predict_chunk_size,
    axes=(0, None if unimodal is None else 1),
  )
  return jnp.swapaxes(outputs, 0, 1), weights


def _with_strength(weights, run_params, present):
  """Applies the strength to weights; rows that sum to 1 still do."""
  return weighting.uniform(present) * weighting.multipliers(
    weights, present, strength=run_params.strength
  )
