"""AGM: encoders learn by how their modality's share of the output does.

Li et al. (2023), "Boosting multi-modal model performance with adaptive gradient
modulation", arXiv 2308.07686.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import shapley
from btw_jax import tasks
from btw_jax.methods.balance import base
from btw_jax.methods.balance import passes

# Above so many modalities, orders are sampled.
_MAX_EXACT = 4
_NUM_PERMUTATIONS = 2
# The largest exponents, as published for that of α.
_MAX_DIFFERENCE, _MAX_EXPONENT = 7.0, 20.0


@dataclasses.dataclass(frozen=True)
class Method(base.Modulation):
  """Multiplies what an encoder learns by `exp(α·min(r*_m − r_m, 7))`.

  The output of all modalities is the sum of their shares o_m, Shapley values of
  passes with subsets; the empty subset counts as 0. s_m is the mean loss of
  o_m, and `r_m = exp(M/(M−1)·(mean of s − s_m))`; r*_m comes from running
  means. Up to four modalities all 2^M subsets are passed; for more, orders are
  drawn in every step. In a regression, s_m is the mean absolute error of M·o_m.
  """

  setting: ClassVar[base.Setting] = base.Setting("α", 1.0, 0.25, 2.0, log=True)

  def init(self, seed):
    """Returns the state: the factors, and running means of the losses."""
    del seed
    zeros = jnp.zeros(self.num_modalities)
    return {"factors": zeros + 1, "mean": zeros, "count": zeros}

  def observe(self, step, forward, embeddings):
    """Computes the factors of the encoders."""
    shares = shares_of(forward, embeddings, step.key)
    known = forward.batch.present.T
    losses = share_losses(forward.task, shares, forward.batch.target)
    scores, counted = passes.mean_known(forward, losses, known)
    count = step.state["count"] + counted
    mean = step.state["mean"] + jnp.where(
      counted, (scores - step.state["mean"]) / jnp.maximum(count, 1.0), 0.0
    )
    difference = ratios(mean, count > 0) - ratios(scores, counted)
    factors = jnp.exp(
      self.value(step) * jnp.minimum(difference, _MAX_DIFFERENCE)
    )
    factors = jnp.where(counted, factors, 1.0)
    return {"factors": factors, "mean": mean, "count": count}


def plan_subsets(
  num_modalities: int, key: chex.PRNGKey
) -> tuple[chex.Array, chex.Array]:
  """Plans the subsets that Shapley values are computed from.

  Returns the modalities `[P, M]` bool of each subset, and `[M, P]` its weight
  in each value. Up to four modalities these are all subsets; for more, orders
  are drawn by `key`, the same on all devices.
  """
  plan = shapley.plan(
    num_modalities, num_permutations=_NUM_PERMUTATIONS, max_exact=_MAX_EXACT
  )
  kept = jnp.asarray(plan.kept)
  weights = jnp.asarray(plan.weights, jnp.float32)
  if num_modalities <= _MAX_EXACT:
    return kept, weights
  # The planned orders, of modalities that are renamed in every step.
  names = jax.random.permutation(key, num_modalities)
  return kept[:, names], weights[names]


def shares_of(
  forward: forward_lib.Forward, embeddings: chex.Array, key: chex.PRNGKey
) -> chex.Array:
  """Computes the share `[M, B, K]` of each modality in the output."""
  kept, weights = plan_subsets(forward.batch.present.shape[1], key)
  outputs, known = forward.fuse_subsets(embeddings, kept)
  outputs = jnp.where(known[..., None], outputs, 0.0)
  return jnp.einsum("mp,pbk->mbk", weights, outputs)


def share_losses(
  task: tasks.Task, shares: chex.Array, targets: chex.Array
) -> chex.Array:
  """Computes the loss `[M, B]` of shares `[M, B, K]` of an output."""
  if task.unit == "mae":
    return task.score(len(shares) * shares, targets)
  return task.nll(shares, targets)


def ratios(scores: chex.Array, known: chex.Array) -> chex.Array:
  """Computes `exp(M/(M−1)·(mean of s − s_m))`, `[M]`, over those in `known`."""
  number = jnp.sum(known)
  mean = jnp.sum(jnp.where(known, scores, 0.0)) / jnp.maximum(number, 1)
  exponent = number / jnp.maximum(number - 1, 1) * (mean - scores)
  return jnp.exp(jnp.clip(exponent, -_MAX_EXPONENT, _MAX_EXPONENT))
