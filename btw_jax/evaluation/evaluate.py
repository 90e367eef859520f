"""Turns raw outputs into predictions and metrics in the target's unit."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from btw_jax import predictions
from btw_jax import tasks
from btw_jax.data import scaling
from btw_jax.evaluation import metrics

# The standard deviation of a Laplace distribution of scale 1.
LAPLACE_STD = 2**0.5


class Predicted(NamedTuple):
  """The predictions of one model, or of several together, on one split.

  Attributes:
    decision: `[N]` class number, or `[N]` mean of a regression; `[N, C]` 0 or 1
      of several labels.
    probs: `[N, C]` probability of each class, or of each of several labels;
      None for a regression.
    std: `[N]` predicted standard deviation; None unless it is a regression.
    is_laplace: whether a regression predicts a Laplace distribution, not a
      Gaussian.
  """

  decision: np.ndarray
  probs: np.ndarray | None = None
  std: np.ndarray | None = None
  is_laplace: bool = False

  def select(self, rows: np.ndarray | slice) -> "Predicted":
    """Returns the predictions of the examples at `rows`."""
    return self._replace(
      decision=self.decision[rows],
      probs=None if self.probs is None else self.probs[rows],
      std=None if self.std is None else self.std[rows],
    )


def interpret(
  task: tasks.Task,
  outputs: np.ndarray | predictions.Prediction,
  scaler: scaling.Scaler,
) -> Predicted:
  """Reads a model's outputs `[N, K]`, in the target's unit.

  Predictions may be given in place of outputs. `scaler` standardised the target
  for training.
  """
  prediction = outputs
  if not isinstance(outputs, predictions.Prediction):
    prediction = task.predict(np.asarray(outputs, np.float64))
  if isinstance(prediction, predictions.Categorical):
    return _decide(task, scipy.special.softmax(prediction.logits, axis=-1))
  if isinstance(prediction, predictions.Bernoulli):
    probs = scipy.special.expit(prediction.logits)
    if task.name == "binary":
      probs = np.concatenate([1 - probs, probs], axis=-1)
    return _decide(task, probs)
  mean, spread = (np.asarray(v, np.float64) for v in prediction)
  is_laplace = isinstance(prediction, predictions.Laplace)
  return Predicted(
    mean * scaler.target_std + scaler.target_mean,
    std=spread * scaler.target_std * (LAPLACE_STD if is_laplace else 1),
    is_laplace=is_laplace,
  )


def _decide(task, probs):
  """Returns probabilities `[N, C]` with the decisions that follow from them."""
  if task.name == "multilabel":
    return Predicted((probs > 0.5).astype(int), probs)
  return Predicted(probs.argmax(axis=-1), probs)


def pool(task: tasks.Task, predicted: Sequence[Predicted]) -> Predicted:
  """Predicts by several models together: the mixture of their predictions.

  Its probabilities are the means of theirs. Its mean and standard deviation are
  those of the mixture of their distributions.
  """
  if predicted[0].std is None:
    return _decide(task, np.mean([p.probs for p in predicted], axis=0))
  means = np.stack([p.decision for p in predicted])
  mean = means.mean(axis=0)
  within = np.mean([p.std**2 for p in predicted], axis=0)
  std = np.sqrt(within + means.var(axis=0))
  return Predicted(mean, std=std, is_laplace=predicted[0].is_laplace)


def measure(
  task: tasks.Task,
  predicted: Predicted,
  target: np.ndarray,
  *,
  sentiment: bool = False,
) -> dict[str, float]:
  """Returns the metrics of predictions against `[N]` or `[N, C]` targets.

  The target is in its raw unit. `sentiment` adds the metrics of sentiment in
  [−3, 3] to a regression. An undefined metric is NaN, all others are finite;
  see `btw_jax.evaluation.metrics`.
  """
  if task.name == "multiclass":
    return metrics.classification(predicted.probs, target)
  if task.name == "binary":
    return metrics.labels(predicted.probs[:, 1:], target[:, None])
  if task.name == "multilabel":
    return metrics.labels(predicted.probs, target)
  mean, spread = predicted.decision, predicted.std
  distribution = scipy.stats.norm(mean, spread)
  if predicted.is_laplace:
    distribution = scipy.stats.laplace(mean, spread / LAPLACE_STD)
  values = metrics.regression(
    mean, distribution.cdf(target), -distribution.logpdf(target), target
  )
  if sentiment:
    values |= metrics.sentiment(mean, target)
  return values
