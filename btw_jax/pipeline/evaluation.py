"""Trained models evaluated on a split: metrics per seed, a row per example."""

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.evaluation import evaluate
from btw_jax.pipeline import baselines
from btw_jax.pipeline import prediction_table
from btw_jax.pipeline import restore
from btw_jax.pipeline import saved_config
from btw_jax.training import model_checkpoints
from btw_jax.training import predictor
from btw_jax.training import state as state_lib


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


class MultimodalPredictor:
  """Predicts splits with the models of stage 2, by their names."""

  def __init__(self, models: restore.Models):
    """Compiles nothing yet."""
    self._models, self._predictors = models, {}

  def __call__(
    self,
    name: str,
    split: types.Split,
    changed: model_checkpoints.Multimodal | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Predicts a split of `with_unimodal` with the models of a name.

    `changed` takes the place of these models. Returns outputs `[S, N, K]` and
    the weights used `[S, N, M]`.
    """
    models = changed or self._models.multimodal[name]
    trainer, shared = self._models.trainer(name), self._models.trainers
    if trainer.network is shared.multimodal.network:
      trainer, name = shared.multimodal, ""
    # Models of one network share its compiled program.
    predict = self._predictors.setdefault(name, predictor.Predictor(trainer))
    outputs, weights = predict(
      models.run_params, models.params, models.unseen_prior, split
    )
    return outputs[:, 0], weights


def score(
  models: restore.Models,
  shape: saved_config.DataShape,
  examples: Sequence[dataset_lib.Examples],
  seeds: Sequence[int],
  *,
  reading: loading.Reading | None = None,
  sentiment: bool = False,
) -> Scores:
  """Evaluates both stages on a split.

  Args:
    models: of both stages.
    shape: of the data.
    examples: one per seed, or one for all.
    seeds: S seeds.
    reading: how to read a split on disk.
    sentiment: whether to add the metrics of sentiment in [−3, 3].

  Returns:
    The scores.
  """
  trainers = models.trainers
  scalers = [jax.tree.map(np.asarray, s) for s in models.unimodal.scalers]
  batch = loading.stack(examples, scalers, reading or loading.Reading())
  split = with_unimodal(
    predictor.Predictor(trainers.unimodal), models.unimodal.params, batch
  )
  examples = per_seed(examples, seeds)
  seeds_metrics = _SeedMetrics(
    trainers.task, examples, per_seed(scalers, seeds), sentiment
  )
  rows, of_examples = [], []
  outputs = np.asarray(split.unimodal)
  for m, modality in enumerate(shape.modalities):
    predicted = seeds_metrics.interpret(outputs[:, m])
    metrics = seeds_metrics.measure(predicted, modality)
    rows.append(_row(modality, "modality", metrics))
  predict = MultimodalPredictor(models)
  for name, outputs in baselines.predict(
    models,
    split,
    shape.modalities,
    functools.partial(predict, "uniform", split),
  ).items():
    predicted = seeds_metrics.interpret(jax.tree.map(np.asarray, outputs))
    rows.append(_row(name, "baseline", seeds_metrics.measure(predicted)))
  for name in models.multimodal:
    outputs, weights = predict(name, split)
    predicted = seeds_metrics.interpret(outputs)
    row = _row(name, "weighting", seeds_metrics.measure(predicted))
    mean_weights = {
      modality: weights[:, :, m].mean(axis=1).tolist()
      for m, modality in enumerate(shape.modalities)
    }
    rows.append(row | {"weights": mean_weights})
    for s, seed in enumerate(seeds):
      of_examples += prediction_table.rows(
        shape,
        name,
        seed,
        examples[s].ids,
        examples[s].target,
        predicted[s],
        weights[s],
      )
  return Scores(rows, of_examples)


def per_seed(values: Sequence[Any], seeds: Sequence[int]) -> list[Any]:
  """Repeats one value for all seeds, if there is not one for each."""
  if len(values) == len(seeds):
    return list(values)
  return list(values) * len(seeds)


class _SeedMetrics:
  """The metrics of each seed's models on its examples."""

  def __init__(self, task, examples, scalers, sentiment):
    """Takes the examples and the scaler of each seed."""
    self._task, self._examples = task, examples
    self._scalers, self._sentiment = scalers, sentiment

  def interpret(self, outputs):
    """Reads outputs `[S, N, ...]`; returns the predictions of each seed."""
    return [
      evaluate.interpret(
        self._task, jax.tree.map(lambda x, s=s: x[s], outputs), scaler
      )
      for s, scaler in enumerate(self._scalers)
    ]

  def measure(self, predicted, modality=None):
    """Measures the examples that have a modality, or all if none is given."""
    metrics = []
    for examples, p in zip(self._examples, predicted, strict=True):
      where = slice(None) if modality is None else examples.present[modality]
      metrics.append(
        evaluate.measure(
          self._task,
          p.select(where),
          examples.target[where],
          sentiment=self._sentiment,
        )
      )
    return metrics


def _row(name, kind, metrics):
  """Returns a row; `metrics` are those of each seed."""
  return {
    "name": name,
    "kind": kind,
    "metrics": {key: [m[key] for m in metrics] for key in metrics[0]},
  }
