"""Plug-in mutual information between discrete variables."""

import chex
import jax.numpy as jnp

from btw_jax import types


def soft_contingency(
  p_probs: chex.Array,
  q_probs: chex.Array,
  *,
  where: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Joint distribution of two classifiers' decisions, `(1/N) Σ_i p_i q_iᵀ`.

  Each example contributes the outer product of its two predictive
  distributions, as if each classifier drew its decision from its own. Being a
  mean over examples, tables of shards combine by a weighted sum. BTW
  (arXiv 2508.18551).

  Args:
    p_probs: `[N, C]` class probabilities of the first classifier.
    q_probs: `[N, K]` class probabilities of the second, row by row.
    where: `[N]` bool, the examples that count; all by default.
    axis_name: of a mapped axis over which the examples are spread; all are at
      hand by default.

  Returns:
    `[C, K]` joint probabilities summing to 1; zeros when nothing counts.

  Raises:
    ValueError: if the inputs are not two matrices with equally many rows.
  """
  p_shape, q_shape = jnp.shape(p_probs), jnp.shape(q_probs)
  if len(p_shape) != 2 or len(q_shape) != 2 or p_shape[0] != q_shape[0]:
    raise ValueError(
      f"p_probs has shape {p_shape} and q_probs {q_shape}: give [N, C] and"
      " [N, K] with the same N."
    )
  if where is None:
    where = jnp.ones(p_shape[0], bool)
  p_probs, q_probs = types.as_float(p_probs, q_probs)
  p_probs = jnp.where(where[:, None], p_probs, 0.0)
  q_probs = jnp.where(where[:, None], q_probs, 0.0)
  table = jnp.einsum("nc,nk->ck", p_probs, q_probs)
  table, count = types.total((table, jnp.sum(where)), axis_name)
  return table / jnp.maximum(count, 1)


def from_joint(joint: chex.Array) -> chex.Array:
  """Mutual information of a joint table, `Σ_ab P_ab log(P_ab / (P_a P_b))`.

  Cover & Thomas (2006), eq. 2.28. Cells of probability 0 contribute 0.

  Args:
    joint: `[..., A, B]` non-negative, each table summing to 1.

  Returns:
    `[...]` nats.
  """
  (joint,) = types.as_float(joint)
  rows = jnp.sum(joint, axis=-1, keepdims=True)
  columns = jnp.sum(joint, axis=-2, keepdims=True)
  product = rows * columns
  # P log(P/R) + R − P with R = P_a P_b: the same sum, yet no term is negative
  # and the small ones of a nearly independent table do not cancel.
  # Of the least that a float holds the product is none.
  occupied = (joint > 0) & (product > 0)
  p, r = jnp.where(occupied, joint, 1.0), jnp.where(occupied, product, 1.0)
  # R/P, or its derivative, can be more than it holds.
  near = (r < 2 * p) & (p * p > 0)
  excess = jnp.where(near, r - p, 0.0) / jnp.where(near, p, 1.0)
  log_ratio = jnp.log(r) - jnp.log(p)
  terms = jnp.where(
    near, p * (excess - jnp.log1p(excess)), (r - p) - p * log_ratio
  )
  return jnp.sum(jnp.where(occupied, terms, product), axis=(-2, -1))
