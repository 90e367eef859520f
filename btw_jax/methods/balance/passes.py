"""Passes with some of the modalities, and how well these predict."""

import chex
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import tasks


def confidence(
  task: tasks.Task, outputs: chex.Array, targets: chex.Array
) -> chex.Array:
  """Computes how much a prediction expects the target, in (0, 1].

  Args:
    task: the task.
    outputs: `[..., K]`.
    targets: as the task has them.

  Returns:
    `[...]`: the probability of the class; for several labels, the geometric
    mean of the probabilities of theirs; for a regression `exp(−|error|)`, of
    standardised targets, since a density has no upper bound.
  """
  if task.unit == "mae":
    return jnp.exp(-task.score(outputs, targets))
  num_labels = task.num_outputs if task.name == "multilabel" else 1
  return jnp.exp(-task.nll(outputs, targets) / num_labels)


def alone(
  forward: forward_lib.Forward, embeddings: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Predicts from each modality alone.

  Returns outputs `[M, B, K]`, and `[M, B]` bool, whether the example has it.
  """
  num_modalities = forward.batch.present.shape[1]
  return forward.fuse_subsets(embeddings, jnp.eye(num_modalities, dtype=bool))


def losses_alone(
  forward: forward_lib.Forward, embeddings: chex.Array
) -> chex.Array:
  """Computes the loss `[M, B]` of each modality alone, 0 where missing."""
  outputs, known = alone(forward, embeddings)
  losses = forward.task.loss(outputs, forward.batch.target)
  return jnp.where(known, losses, 0.0)


def mean_confidence(
  forward: forward_lib.Forward, embeddings: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Computes the mean confidence in the target of each modality alone.

  Returns `[M]` means over the examples of the whole batch that have the
  modality, and `[M]` bool, whether any has.
  """
  outputs, known = alone(forward, embeddings)
  values = confidence(forward.task, outputs, forward.batch.target)
  return mean_known(forward, values, known)


def mean_known(
  forward: forward_lib.Forward, values: chex.Array, known: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Averages values `[M, B]` over the examples of the whole batch in `known`.

  Returns `[M]` means, 0 if there are none, and `[M]` bool, whether there are.
  """
  total, count = forward.sum_batch(
    (
      jnp.sum(jnp.where(known, values, 0.0), axis=-1),
      jnp.sum(known, axis=-1).astype(jnp.float32),
    )
  )
  return total / jnp.maximum(count, 1.0), count > 0


def sum_of_others(values: chex.Array, known: chex.Array) -> chex.Array:
  """Computes for each modality the sum `[M]` of the others' values."""
  values = jnp.where(known, values, 0.0)
  return jnp.sum(values) - values
