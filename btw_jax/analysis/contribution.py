"""The contribution of each modality to a model's quality.

The value of a set of modalities is the quality of the predictions that a model
makes from these alone; `shapley` divides it among the modalities. The
contributions add up to the quality from all modalities minus that from none.

Covert, Lundberg and Lee (2020), "Understanding global feature contributions
with additive importance measures" (arXiv 2004.00668), for taking modalities
away by other examples' values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import predictions
from btw_jax import tasks

REMOVALS = ("absent", "shuffle")


class Quality(NamedTuple):
  """The quality of predictions.

  Attributes:
    likelihood: `[...]` log-likelihood of the target in nats.
    score: `[...]` 1 if correct and 0 if not, or the negative absolute error.
  """

  likelihood: chex.Array
  score: chex.Array


def quality(
  task: tasks.Task, outputs: chex.Array, target: chex.Array
) -> Quality:
  """Computes the quality `[..., N]` of outputs `[..., N, K]`."""
  score = task.score(outputs, target)
  if task.unit == "mae":
    score = -score
  return Quality(-task.nll(outputs, target), score)


def mean_quality(
  task: tasks.Task, outputs: chex.Array, target: chex.Array
) -> Quality:
  """Computes the quality `[N]` of the mean prediction over R variants.

  The likelihood is that of the mixture of the predictions `[R, N, K]`. The
  score is that of the mean probabilities, or of the mean point prediction.
  """
  num_variants = outputs.shape[0]
  likelihood = jax.nn.logsumexp(-task.nll(outputs, target), axis=0)
  likelihood -= jnp.log(num_variants)
  prediction = task.predict(outputs)
  if isinstance(prediction, predictions.Categorical):
    mean = jax.nn.logsumexp(jax.nn.log_softmax(outputs), axis=0)
  elif isinstance(prediction, predictions.Bernoulli):
    log_odds = [
      jax.nn.logsumexp(jax.nn.log_sigmoid(sign * outputs), axis=0)
      for sign in (1, -1)
    ]
    mean = log_odds[0] - log_odds[1]
  else:
    mean = jnp.mean(outputs, axis=0)
  return Quality(likelihood, quality(task, mean, target).score)


def constant_quality(task: tasks.Task, target: chex.Array) -> Quality:
  """Computes the quality `[N]` of the best constant: knowing no modality.

  It predicts the frequencies of the classes or labels, or the normal
  distribution of the targets.
  """
  target = jnp.asarray(target)
  if task.name == "regression":
    mean, std = jnp.mean(target), jnp.std(target)
    # The log-density of a normal distribution at its own standard deviation.
    likelihood = jax.scipy.stats.norm.logpdf(target, mean, std)
    return Quality(likelihood, -jnp.abs(target - jnp.median(target)))
  if task.name == "multiclass":
    counts = jnp.bincount(target.astype(int), length=task.num_outputs)
    outputs = jnp.log(jnp.maximum(counts, 0.5))
  else:
    labels = target.reshape(len(target), -1)
    count, ones = len(labels), jnp.sum(labels, axis=0)
    ones = jnp.clip(ones, 0.5, count - 0.5)
    outputs = jnp.log(ones) - jnp.log(count - ones)
  outputs = jnp.broadcast_to(outputs, (len(target), outputs.shape[-1]))
  return quality(task, outputs, target)


def rows_of_set(kept: Sequence[bool], donors: chex.Array) -> chex.Array:
  """Returns the `[N, M]` examples that modalities are taken from.

  A kept modality is the example's own, all others are those of its donor `[N]`,
  hence together as they occur.
  """
  numbers = jnp.arange(len(donors))[:, None]
  return jnp.where(jnp.asarray(kept), numbers, donors[:, None])
