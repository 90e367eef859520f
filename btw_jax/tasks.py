"""Tasks: how outputs become predictions, and their losses and scores.

A head returns K numbers per example; a `Task` gives them a meaning. Losses and
scores stay per example, because only the caller knows which examples count.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import predictions

NAMES = ("regression", "binary", "multiclass", "multilabel")
PREDICTIVE = ("gaussian", "laplace")

# The smallest predicted std or scale; targets are standardised.
MIN_SPREAD = 1e-2
# The odd base of a hash modulo 2^32: 2^32 divided by the golden ratio.
_HASH_BASE = 0x9E3779B1


class Task(NamedTuple):
  """The functions that belong to one kind of target.

  Attributes:
    name: one of `NAMES`.
    num_outputs: K, the number of outputs per example.
    predict: outputs `[..., K]` -> prediction.
    loss: outputs `[..., K]`, targets -> `[...]` training loss.
    nll: outputs `[..., K]`, targets -> `[...]` nats, −log p(target).
    score: outputs `[..., K]`, targets -> `[...]`, 1 if correct and 0 if not
      (the mean over labels for multilabel); the absolute error for regression.
    decide: outputs `[..., K]` -> `[...]` int, the predicted class; for
      multilabel a hash of the predicted labels; for regression 1 if the output
      is above 0, which is the mean of standardised training targets, else 0.
    classes: targets -> `[...]` int, the correct value of `decide`.
    unit: the name of the mean score, "accuracy" or "mae".
  """

  name: str
  num_outputs: int
  predict: Callable[[chex.Array], predictions.Prediction]
  loss: Callable[[chex.Array, chex.Array], chex.Array]
  nll: Callable[[chex.Array, chex.Array], chex.Array]
  score: Callable[[chex.Array, chex.Array], chex.Array]
  decide: Callable[[chex.Array], chex.Array]
  classes: Callable[[chex.Array], chex.Array]
  unit: str


def make(name: str, num_classes: int, predictive: str = "gaussian") -> Task:
  """Makes a task.

  Args:
    name: one of `NAMES`.
    num_classes: number of classes (multiclass) or labels (multilabel); not used
      by the other tasks.
    predictive: one of `PREDICTIVE`, the predictive distribution of regression.

  Returns:
    The `Task`.

  Raises:
    ValueError: if `name` or `predictive` is unknown.
  """
  if name not in NAMES:
    raise ValueError(f"task={name!r}: use one of {', '.join(NAMES)}.")
  if predictive not in PREDICTIVE:
    raise ValueError(
      f"predictive={predictive!r}: use one of {', '.join(PREDICTIVE)}."
    )
  if name == "regression":
    return _regression(predictive)
  if name == "multiclass":
    return Task(
      name=name,
      num_outputs=num_classes,
      predict=predictions.Categorical,
      loss=_categorical_nll,
      nll=_categorical_nll,
      score=_categorical_score,
      decide=lambda outputs: jnp.argmax(outputs, axis=-1),
      classes=lambda targets: jnp.asarray(targets, int),
      unit="accuracy",
    )
  return Task(
    name=name,
    num_outputs=num_classes if name == "multilabel" else 1,
    predict=predictions.Bernoulli,
    loss=_bernoulli_nll,
    nll=_bernoulli_nll,
    score=_bernoulli_score,
    decide=lambda outputs: _hash_labels(outputs > 0),
    classes=(
      _hash_labels
      if name == "multilabel"
      else lambda targets: jnp.asarray(targets, int)
    ),
    unit="accuracy",
  )


def _categorical_nll(outputs, targets):
  log_probs = jax.nn.log_softmax(outputs)
  targets = jnp.broadcast_to(targets, outputs.shape[:-1]).astype(jnp.int32)
  return -jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]


def _categorical_score(outputs, targets):
  return (jnp.argmax(outputs, axis=-1) == targets).astype(jnp.float32)


def _labels(outputs, targets):
  """Returns targets as `[..., C]`; a binary target is one label."""
  targets = jnp.asarray(targets, outputs.dtype)
  if outputs.shape[-1] == 1 and targets.shape[-1:] != (1,):
    targets = targets[..., None]
  return targets


def _bernoulli_nll(outputs, targets):
  labels = _labels(outputs, targets)
  yes, no = jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)
  return -jnp.sum(labels * yes + (1.0 - labels) * no, axis=-1)


def _bernoulli_score(outputs, targets):
  correct = (outputs > 0) == (_labels(outputs, targets) > 0.5)
  return jnp.mean(correct.astype(jnp.float32), axis=-1)


def _hash_labels(labels):
  """Hashes `[..., C]` labels to `[...]` integers; collisions are very rare."""
  labels = jnp.asarray(labels, bool).astype(jnp.uint32)
  factors = [pow(_HASH_BASE, c, 2**32) for c in range(labels.shape[-1])]
  return jnp.sum(labels * np.array(factors, np.uint32), axis=-1)


def _regression(predictive: str) -> Task:
  kinds = {"gaussian": predictions.Gaussian, "laplace": predictions.Laplace}
  densities = {"gaussian": _gaussian_nll, "laplace": _laplace_nll}
  density_nll = densities[predictive]

  def predict(outputs):
    spread = jax.nn.softplus(outputs[..., 1]) + MIN_SPREAD
    return kinds[predictive](outputs[..., 0], spread)

  def nll(outputs, targets):
    return density_nll(targets, *predict(outputs))

  def loss(outputs, targets):
    # The mean learns from the absolute error only, so that a large predicted
    # spread cannot excuse a wrong mean. The spread learns from the likelihood,
    # with the mean as a constant.
    mean, spread = predict(outputs)
    error = jnp.abs(mean - targets)
    return error + density_nll(targets, jax.lax.stop_gradient(mean), spread)

  def score(outputs, targets):
    return jnp.abs(outputs[..., 0] - targets)

  return Task(
    name="regression",
    num_outputs=2,
    predict=predict,
    loss=loss,
    nll=nll,
    score=score,
    decide=lambda outputs: jnp.asarray(outputs[..., 0] > 0, int),
    classes=lambda targets: jnp.asarray(targets > 0, int),
    unit="mae",
  )


def _gaussian_nll(target, mean, std):
  return -jax.scipy.stats.norm.logpdf(target, mean, std)


def _laplace_nll(target, loc, scale):
  return -jax.scipy.stats.laplace.logpdf(target, loc, scale)
