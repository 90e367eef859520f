"""Trained models evaluated on a split: metrics per seed, a row per example."""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.evaluation import evaluate
from btw_jax.pipeline import baselines
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import restore
from btw_jax.training import model_checkpoints
from btw_jax.training import predictor
from btw_jax.training import state as state_lib

PREDICTION_COLUMNS = (
  "id",
  "target",
  "weighting",
  "seed",
  "prediction",
  "certainty",
)


class Scores(NamedTuple):
  """The evaluation of both stages on a split.

  Attributes:
    rows: one per modality, baseline and weighting: name, kind, `metrics` name
      -> value per seed, and for a weighting also `weights`, modality -> value
      per seed.
    predictions: rows of `predictions.csv`.
  """

  rows: Sequence[Mapping[str, Any]]
  predictions: Sequence[Mapping[str, Any]]


def with_unimodal(
  predict: predictor.Predictor, params: Any, batch: types.Batch
) -> types.Split:
  """Adds the outputs `[S, M, N, K]` of the frozen unimodal models to a split.

  `predict` is that of the unimodal models' trainer; the batch is `[N, ...]` or
  `[S, N, ...]`.
  """
  plain = state_lib.RunParams(jnp.int32(0), jnp.float32(0), jnp.float32(1))
  outputs, _ = predict(plain, params, None, types.Split(batch, None))
  return types.Split(batch, jnp.asarray(outputs))


def predict_multimodal(
  predict: predictor.Predictor,
  split: types.Split,
  models: model_checkpoints.Multimodal,
) -> tuple[np.ndarray, np.ndarray]:
  """Predicts a split of `with_unimodal` with the models of a weighting.

  `predict` is that of the multimodal models' trainer. Returns outputs `[S, N,
  K]` and the weights used `[S, N, M]`.
  """
  outputs, weights = predict(
    models.run_params, models.params, models.unseen_prior, split
  )
  return outputs[:, 0], weights


def score(
  models: restore.Models,
  examples: Sequence[dataset_lib.Examples],
  seeds: Sequence[int],
  *,
  reading: loading.Reading | None = None,
  sentiment: bool = False,
) -> Scores:
  """Evaluates both stages on a split.

  Args:
    models: of both stages.
    examples: one per seed, or one for all.
    seeds: S seeds.
    reading: how to read a split on disk.
    sentiment: whether to add the metrics of sentiment in [−3, 3].

  Returns:
    The scores.
  """
  trainers = models.trainers
  modalities = examples[0].modalities
  scalers = [jax.tree.map(np.asarray, s) for s in models.unimodal.scalers]
  batch = loading.stack(examples, scalers, reading or loading.Reading())
  split = with_unimodal(
    predictor.Predictor(trainers.unimodal), models.unimodal.params, batch
  )
  examples = _per_seed(examples, seeds)
  scalers = _per_seed(scalers, seeds)

  def evaluate_seeds(outputs, modality=None):
    """Evaluates `[S, N, ...]`, on the examples with a modality if given."""
    for s, (of_seed, scaler) in enumerate(zip(examples, scalers, strict=True)):
      where = slice(None) if modality is None else of_seed.present[modality]
      yield evaluate.evaluate(
        trainers.task,
        jax.tree.map(lambda x, s=s, w=where: x[s][w], outputs),
        of_seed.target[where],
        scaler,
        sentiment=sentiment,
      )

  rows, of_examples = [], []
  outputs = np.asarray(split.unimodal)
  for m, modality in enumerate(modalities):
    evaluations = evaluate_seeds(outputs[:, m], modality)
    rows.append(_row(modality, "modality", list(evaluations)))
  predict = functools.partial(
    predict_multimodal, predictor.Predictor(trainers.multimodal), split
  )
  for name, outputs in baselines.predict(
    models, split, modalities, predict
  ).items():
    evaluations = evaluate_seeds(jax.tree.map(np.asarray, outputs))
    rows.append(_row(name, "baseline", list(evaluations)))
  for name, model in models.multimodal.items():
    outputs, weights = predict(model)
    evaluations = list(evaluate_seeds(outputs))
    rows.append(
      {
        **_row(name, "weighting", evaluations),
        "weights": {
          modality: weights[:, :, m].mean(axis=1).tolist()
          for m, modality in enumerate(modalities)
        },
      }
    )
    for s, seed in enumerate(seeds):
      of_examples += _prediction_rows(
        name, seed, examples[s], evaluations[s], weights[s], modalities
      )
  return Scores(rows, of_examples)


def write_predictions(
  path: str | os.PathLike, scores: Scores, modalities: Sequence[str]
) -> None:
  """Writes a CSV file with a row per weighting, seed and example."""
  weights = [f"weight_{modality}" for modality in modalities]
  table = csv_table.CsvTable(path, (*PREDICTION_COLUMNS, *weights))
  table.write(scores.predictions)


def _per_seed(values, seeds):
  """Repeats one value for all seeds, if there is not one for each."""
  if len(values) == len(seeds):
    return list(values)
  return list(values) * len(seeds)


def _row(name, kind, evaluations):
  return {
    "name": name,
    "kind": kind,
    "metrics": {
      metric: [e.metrics[metric] for e in evaluations]
      for metric in evaluations[0].metrics
    },
  }


def _prediction_rows(name, seed, examples, evaluation, weights, modalities):
  columns = (examples.ids, examples.target, *evaluation[1:])
  for row, (i, target, prediction, certainty) in enumerate(
    zip(*columns, strict=True)
  ):
    yield {
      "id": i,
      "target": _text(target),
      "weighting": name,
      "seed": seed,
      "prediction": _text(prediction),
      "certainty": _text(certainty),
      **{
        f"weight_{modality}": f"{weights[row, m]:.6g}"
        for m, modality in enumerate(modalities)
      },
    }


def _text(value):
  """Writes a number, or several numbers separated by spaces."""
  return " ".join(f"{v:.7g}" for v in np.atleast_1d(value))
