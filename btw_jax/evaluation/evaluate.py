"""From raw outputs to predictions in the target's own unit, and metrics."""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from btw_jax import predictions
from btw_jax import tasks
from btw_jax.data import scaling
from btw_jax.evaluation import metrics


class Evaluation(NamedTuple):
  """One model on one split.

  Attributes:
    metrics: name -> value, see `btw_jax.evaluation.metrics`.
    prediction: `[N]` class number, probability of yes (`[N, C]` if several
      labels), or mean.
    certainty: `[N]` or `[N, C]`, the probability given to the decision, or
      the predicted standard deviation (Laplace: scale).
  """

  metrics: dict[str, float]
  prediction: np.ndarray
  certainty: np.ndarray


def evaluate(
  task: tasks.Task,
  outputs: np.ndarray,
  target: np.ndarray,
  scaler: scaling.Scaler,
  *,
  sentiment: bool = False,
) -> Evaluation:
  """Metrics of a model's outputs.

  Args:
    task: what the outputs mean.
    outputs: `[N, K]`.
    target: `[N]` or `[N, C]`, in its own unit.
    scaler: what the target was standardised with.
    sentiment: add the metrics of sentiment in [−3, 3] to a regression.

  Returns:
    The evaluation; every metric is finite or NaN where undefined.
  """
  prediction = task.predict(np.asarray(outputs, np.float64))
  if isinstance(prediction, predictions.Categorical):
    probs = scipy.special.softmax(prediction.logits, axis=-1)
    return Evaluation(
      metrics.classification(probs, target), probs.argmax(-1), probs.max(-1)
    )
  if isinstance(prediction, predictions.Bernoulli):
    probs = scipy.special.expit(prediction.logits)
    found = metrics.labels(probs, target.reshape(probs.shape))
    probs = probs[:, 0] if task.name == "binary" else probs
    return Evaluation(found, probs, np.maximum(probs, 1 - probs))
  mean, spread = (np.asarray(v, np.float64) for v in prediction)
  mean = mean * scaler.target_std + scaler.target_mean
  spread = spread * scaler.target_std
  family = {
    predictions.Gaussian: scipy.stats.norm,
    predictions.Laplace: scipy.stats.laplace,
  }[type(prediction)](mean, spread)
  found = metrics.regression(
    mean, family.cdf(target), -family.logpdf(target), target
  )
  if sentiment:
    found |= metrics.sentiment(mean, target)
  return Evaluation(found, mean, spread)
