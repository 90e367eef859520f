"""What is predicted: a head's output as a distribution, and its loss.

A head returns K numbers per example; a `Task` gives them a meaning. Losses and
scores stay per example: whoever averages knows the mask.
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

# The smallest predicted spread, in standard deviations of the training target.
_MIN_SPREAD = 1e-2
# Its powers tell labels apart modulo 2^32.
_ODD = 0x9E3779B1


class Task(NamedTuple):
  """One kind of target.

  Attributes:
    name: one of `NAMES`.
    num_outputs: K, what a head must return per example.
    predict: outputs `[..., K]` -> prediction.
    loss: outputs `[..., K]`, targets -> `[...]`, what training minimises.
    nll: outputs `[..., K]`, targets -> `[...]` nats, −log p(target).
    score: outputs `[..., K]`, targets -> `[...]`, 1 where right and 0 where
      not (the mean over labels if several), or the absolute error.
    decide: outputs `[..., K]` -> `[...]` int, the class decided for; of several
      labels one number for every set of them; of a quantity 1 where it is above
      0, which is the training mean once standardised.
    classes: targets -> `[...]` int, the class that `decide` should give.
    unit: name of the mean score, "accuracy" or "mae".
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
  """The task of that name.

  Args:
    name: one of `NAMES`.
    num_classes: classes (multiclass) or labels (multilabel); not used else.
    predictive: "gaussian" or "laplace", the distribution of a regression.

  Returns:
    A `Task`.

  Raises:
    ValueError: if a name is unknown.
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
    decide=lambda outputs: _number(outputs > 0),
    classes=(
      _number
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
  """Targets as `[..., C]`, a binary target being one label."""
  targets = jnp.asarray(targets, outputs.dtype)
  if outputs.shape[-1] == 1 and targets.shape[-1:] != (1,):
    targets = targets[..., None]
  return targets


def _bernoulli_nll(outputs, targets):
  labels = _labels(outputs, targets)
  yes, no = jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)
  return -jnp.sum(labels * yes + (1.0 - labels) * no, axis=-1)


def _bernoulli_score(outputs, targets):
  right = (outputs > 0) == (_labels(outputs, targets) > 0.5)
  return jnp.mean(right.astype(jnp.float32), axis=-1)


def _number(labels):
  """One number for labels `[..., C]`; two sets share one by rare chance."""
  labels = jnp.asarray(labels, bool).astype(jnp.uint32)
  factors = [pow(_ODD, c, 2**32) for c in range(labels.shape[-1])]
  return jnp.sum(labels * np.array(factors, np.uint32), axis=-1)


def _regression(predictive: str) -> Task:
  kind = {"gaussian": predictions.Gaussian, "laplace": predictions.Laplace}
  density = {"gaussian": _gaussian_nll, "laplace": _laplace_nll}
  likelihood = density[predictive]

  def predict(outputs):
    spread = jax.nn.softplus(outputs[..., 1]) + _MIN_SPREAD
    return kind[predictive](outputs[..., 0], spread)

  def nll(outputs, targets):
    return likelihood(targets, *predict(outputs))

  def loss(outputs, targets):
    # The spread learns from the likelihood with the mean held fixed; the mean
    # learns from the absolute error alone, whatever spread is claimed.
    mean, spread = predict(outputs)
    error = jnp.abs(mean - targets)
    return error + likelihood(targets, jax.lax.stop_gradient(mean), spread)

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
