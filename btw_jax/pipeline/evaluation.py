"""Trained models on a split: metrics per seed, and a row per example."""

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
from btw_jax.pipeline import build
from btw_jax.pipeline import csv_table
from btw_jax.training import loop
from btw_jax.training import model_checkpoints
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
  """What a split's evaluation leaves.

  Attributes:
    rows: one per modality and weighting: name, kind, `metrics` name -> value
      per seed, and for a weighting `weights` modality -> value per seed.
    predictions: rows of `predictions.csv`.
  """

  rows: Sequence[Mapping[str, Any]]
  predictions: Sequence[Mapping[str, Any]]


def with_unimodal(
  predict: loop.Predictor,
  params: Any,
  batch: types.Batch,
) -> types.Split:
  """A split together with the frozen unimodal models' outputs for it.

  Args:
    predict: of the unimodal models' trainer.
    params: of stage 1, `[S, ...]`.
    batch: the split, `[N, ...]` or `[S, N, ...]`.

  Returns:
    The split, outputs `[S, M, N, K]`.
  """
  plain = state_lib.RunParams(jnp.int32(0), jnp.float32(0), jnp.float32(1))
  outputs, _ = predict(plain, params, None, types.Split(batch, None))
  return types.Split(batch, jnp.asarray(outputs))


def score(
  trainers: build.Trainers,
  unimodal: model_checkpoints.Unimodal,
  multimodal: Mapping[str, model_checkpoints.Multimodal],
  examples: Sequence[dataset_lib.Examples],
  seeds: Sequence[int],
  *,
  reading: loading.Reading | None = None,
  sentiment: bool = False,
) -> Scores:
  """Evaluates both stages on a split.

  Args:
    trainers: of both stages.
    unimodal: stage 1.
    multimodal: weighting -> stage 2.
    examples: one per seed, or one for all.
    seeds: S of them.
    reading: of what stays on disk.
    sentiment: add the metrics of sentiment in [−3, 3].

  Returns:
    The scores.
  """
  modalities = examples[0].modalities
  scalers = [jax.tree.map(np.asarray, s) for s in unimodal.scalers]
  reading = reading or loading.Reading()
  batch = loading.stack(examples, scalers, reading)
  split = with_unimodal(
    loop.Predictor(trainers.unimodal), unimodal.params, batch
  )
  examples = _per_seed(examples, seeds)
  scalers = _per_seed(scalers, seeds)

  def of_seed(outputs, s, where=slice(None)):
    return evaluate.evaluate(
      trainers.task,
      outputs[where],
      examples[s].target[where],
      scalers[s],
      sentiment=sentiment,
    )

  rows, predicted = [], []
  outputs = np.asarray(split.unimodal)
  for m, modality in enumerate(modalities):
    each = [
      of_seed(outputs[s, m], s, examples[s].present[modality])
      for s in range(len(seeds))
    ]
    rows.append(_row(modality, "modality", each))
  predict = loop.Predictor(trainers.multimodal)
  for name, model in multimodal.items():
    outputs, weights = predict(model.cell, model.params, model.guide, split)
    each = [of_seed(outputs[s, 0], s) for s in range(len(seeds))]
    rows.append(
      {
        **_row(name, "weighting", each),
        "weights": {
          modality: weights[:, :, m].mean(axis=1).tolist()
          for m, modality in enumerate(modalities)
        },
      }
    )
    for s, seed in enumerate(seeds):
      predicted += _prediction_rows(
        name, seed, examples[s], each[s], weights[s], modalities
      )
  return Scores(rows, predicted)


def write_predictions(
  path: str | os.PathLike, scores: Scores, modalities: Sequence[str]
) -> None:
  """Writes a row per weighting, seed and example.

  Args:
    path: of the CSV file.
    scores: what was evaluated.
    modalities: their names.
  """
  weights = [f"weight_{modality}" for modality in modalities]
  table = csv_table.CsvTable(path, (*PREDICTION_COLUMNS, *weights))
  table.write(scores.predictions)


def _per_seed(shared_or_not, seeds):
  if len(shared_or_not) == len(seeds):
    return list(shared_or_not)
  return list(shared_or_not) * len(seeds)


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
  """A number, or several separated by spaces."""
  return " ".join(f"{v:.7g}" for v in np.atleast_1d(value))
