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
  """Computes the joint table of two classifiers, `(1/N) Σ_i p_i q_iᵀ`.

  Each example adds the outer product of its two predictive distributions, as if
  each classifier sampled its decision. BTW (arXiv 2508.18551).

  Args:
    p_probs: `[N, C]` class probabilities of the first classifier.
    q_probs: `[N, K]` class probabilities of the second, for the same examples.
    where: `[N]` bool, the examples that count; all by default.
    axis_name: a mapped axis over which the examples are sharded; not sharded
      by default.

  Returns:
    `[C, K]` joint probabilities that sum to 1; zeros if no example counts.

  Raises:
    ValueError: if the inputs are not matrices with equal numbers of rows.
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
  table, count = types.psum_over((table, jnp.sum(where)), axis_name)
  return table / jnp.maximum(count, 1)


def from_joint(joint: chex.Array) -> chex.Array:
  """Computes the mutual information of a table of joint probabilities.

  The formula is `Σ_ab P_ab log(P_ab / (P_a P_b))`, where cells of probability 0
  add 0. Cover & Thomas (2006), eq. 2.28.

  Args:
    joint: `[..., A, B]` non-negative probabilities; each table sums to 1.

  Returns:
    `[...]` nats.
  """
  return jnp.sum(terms(joint), axis=(-2, -1))


def terms(
  joint: chex.Array, margins: tuple[chex.Array, chex.Array] | None = None
) -> chex.Array:
  """Computes the terms whose sum is the mutual information of a table.

  The terms are `P_ab log(P_ab / (P_a P_b)) + P_a P_b - P_ab`; none is negative.
  Their sum over a column b is that value's share in the information,
  `Σ_a P_ab log(P_ab / (P_a P_b))`, if all `P_a` sum to 1.

  Args:
    joint: `[..., A, B]`, as for `from_joint`.
    margins: `P_a` `[..., A, 1]` and `P_b` `[..., 1, B]`, if they are known more
      exactly than a plain sum gives them.

  Returns:
    `[..., A, B]` nats.
  """
  (joint,) = types.as_float(joint)
  if margins is None:
    rows = jnp.sum(joint, axis=-1, keepdims=True)
    columns = jnp.sum(joint, axis=-2, keepdims=True)
  else:
    rows, columns = margins
  product = rows * columns
  # Summing P log(P/R) + R − P with R = P_a P_b gives the same result, but no
  # term is negative, so the small terms of a nearly independent table do not
  # cancel. Empty cells get P = R = 1 so that logarithms and their gradients are
  # finite. The product may underflow to 0 where P is positive. A compiler may
  # compute a cell twice and round it to 0 once: hence the maxima.
  occupied = (joint > 0) & (product > 0)
  least = jnp.finfo(joint.dtype).tiny
  p, r = (
    jnp.where(occupied, jnp.maximum(x, least), 1.0) for x in (joint, product)
  )
  # log1p is accurate for R near P only: its argument R/P − 1 rounds R/P away
  # where it is small. A large R/P, or its derivative R/P², could overflow:
  # hence the condition, and the `where`s around the quotient.
  near = (r < 2 * p) & (p < 2 * r) & (p * p > 0)
  excess = jnp.where(near, r - p, 0.0) / jnp.where(near, p, 1.0)
  log_ratio = jnp.log(r) - jnp.log(p)
  divergence = jnp.where(
    near, p * (excess - jnp.log1p(excess)), (r - p) - p * log_ratio
  )
  return jnp.where(occupied, divergence, product)
