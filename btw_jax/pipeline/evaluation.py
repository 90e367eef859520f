"""Trained models evaluated on a split: metrics per seed, a row per example."""

from collections.abc import Mapping, Sequence
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.evaluation import evaluate
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import restore
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
    rows: one per modality and weighting: name, kind, `metrics` name -> value
      per seed, and for a weighting `weights` modality -> value per seed.
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

  def evaluate_seed(outputs, s, where=slice(None)):
    return evaluate.evaluate(
      trainers.task,
      outputs[where],
      examples[s].target[where],
      scalers[s],
      sentiment=sentiment,
    )

  rows, predictions = [], []
  outputs = np.asarray(split.unimodal)
  for m, modality in enumerate(modalities):
    evaluations = [
      evaluate_seed(outputs[s, m], s, examples[s].present[modality])
      for s in range(len(seeds))
    ]
    rows.append(_row(modality, "modality", evaluations))
  predict = predictor.Predictor(trainers.multimodal)
  for name, model in models.multimodal.items():
    outputs, weights = predict(
      model.run_params, model.params, model.unseen_prior, split
    )
    evaluations = [evaluate_seed(outputs[s, 0], s) for s in range(len(seeds))]
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
      predictions += _prediction_rows(
        name, seed, examples[s], evaluations[s], weights[s], modalities
      )
  return Scores(rows, predictions)


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
