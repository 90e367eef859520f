"""Turns raw outputs into metrics and predictions in the target's unit."""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from btw_jax import predictions
from btw_jax import tasks
from btw_jax.data import scaling
from btw_jax.evaluation import metrics


class Evaluation(NamedTuple):
  """The evaluation of one model on one split.

  Attributes:
    metrics: name -> value, see `btw_jax.evaluation.metrics`.
    prediction: `[N]` class number, probability of the label (`[N, C]` for
      several labels), or mean.
    certainty: `[N]` or `[N, C]`, the probability of the decision, or the
      predicted standard deviation (Laplace: scale).
  """

  metrics: dict[str, float]
  prediction: np.ndarray
  certainty: np.ndarray


def evaluate(
  task: tasks.Task,
  outputs: np.ndarray | predictions.Prediction,
  target: np.ndarray,
  scaler: scaling.Scaler,
  *,
  sentiment: bool = False,
) -> Evaluation:
  """Evaluates a model's outputs `[N, K]` against `[N]` or `[N, C]` targets.

  Predictions may be given in place of outputs. The target is in its raw unit;
  `scaler` standardised it for training. `sentiment` adds the metrics of
  sentiment in [−3, 3] to a regression. An undefined metric is NaN, all others
  are finite.
  """
  prediction = outputs
  if not isinstance(outputs, predictions.Prediction):
    prediction = task.predict(np.asarray(outputs, np.float64))
  if isinstance(prediction, predictions.Categorical):
    probs = scipy.special.softmax(prediction.logits, axis=-1)
    return Evaluation(
      metrics.classification(probs, target), probs.argmax(-1), probs.max(-1)
    )
  if isinstance(prediction, predictions.Bernoulli):
    probs = scipy.special.expit(prediction.logits)
    label_metrics = metrics.labels(probs, target.reshape(probs.shape))
    probs = probs[:, 0] if task.name == "binary" else probs
    return Evaluation(label_metrics, probs, np.maximum(probs, 1 - probs))
  mean, spread = (np.asarray(v, np.float64) for v in prediction)
  mean = mean * scaler.target_std + scaler.target_mean
  spread = spread * scaler.target_std
  distribution = {
    predictions.Gaussian: scipy.stats.norm,
    predictions.Laplace: scipy.stats.laplace,
  }[type(prediction)](mean, spread)
  regression_metrics = metrics.regression(
    mean, distribution.cdf(target), -distribution.logpdf(target), target
  )
  if sentiment:
    regression_metrics |= metrics.sentiment(mean, target)
  return Evaluation(regression_metrics, mean, spread)
