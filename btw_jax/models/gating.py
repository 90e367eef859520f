"""Gating: from a token to the experts that answer it, and what each counts.

Plain functions of scores, `[..., E]`, one per expert: the larger, the likelier
the expert is chosen.
"""

import chex
import jax
import jax.numpy as jnp


def softmax(x: chex.Array, vectors: chex.Array) -> chex.Array:
  """Scores by inner products, `x·v_e`.

  Shazeer et al. (2017), "Outrageously large neural networks".

  Args:
    x: `[..., D]` tokens.
    vectors: `[E, D]`.

  Returns:
    `[..., E]`.
  """
  return x @ vectors.T


def gaussian(x: chex.Array, centres: chex.Array) -> chex.Array:
  """Scores by squared distance, `−‖x − c_e‖²`.

  Han et al. (2024), "FuseMoE: mixture-of-experts transformers for fleximodal
  fusion".

  Args:
    x: `[..., D]` tokens.
    centres: `[E, D]`.

  Returns:
    `[..., E]`, at most 0.
  """
  squares = jnp.sum(x**2, axis=-1)[..., None] + jnp.sum(centres**2, axis=-1)
  return -jnp.maximum(squares - 2.0 * (x @ centres.T), 0.0)


def laplace(x: chex.Array, centres: chex.Array) -> chex.Array:
  """Scores by distance, `−‖x − c_e‖`.

  Han et al. (2024), "FuseMoE".

  Args:
    x: `[..., D]` tokens.
    centres: `[E, D]`.

  Returns:
    `[..., E]`, at most 0; the gradient is 0 where token and centre coincide.
  """
  squares = -gaussian(x, centres)
  apart = squares > 0
  return -jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)


# name -> scores
GATINGS = {"softmax": softmax, "laplace": laplace, "gaussian": gaussian}


def top_k(scores: chex.Array, k: int) -> tuple[chex.Array, chex.Array]:
  """The k largest scores, in descending order; of equal ones the first.

  k passes for the maximum: on CPU a fraction of the time of `lax.top_k`.

  Args:
    scores: `[..., E]`.
    k: at most E, static.

  Returns:
    Their values and positions, `[..., k]`.
  """
  values, positions = [], []
  rest = jax.lax.stop_gradient(scores)
  for _ in range(k):
    position = jnp.argmax(rest, axis=-1)[..., None]
    values.append(jnp.take_along_axis(scores, position, axis=-1))
    positions.append(position)
    taken = jnp.arange(scores.shape[-1]) == position
    rest = jnp.where(taken, -jnp.inf, rest)
  return jnp.concatenate(values, axis=-1), jnp.concatenate(positions, axis=-1)


def select(scores: chex.Array, k: int) -> tuple[chex.Array, chex.Array]:
  """The k experts of largest score, and gates: their softmax among them.

  Shazeer et al. (2017): scores of the others count as −∞.

  Args:
    scores: `[..., E]`.
    k: at most E, static.

  Returns:
    Experts `[..., k]` int and gates `[..., k]`, which sum to 1.
  """
  values, experts = top_k(scores, k)
  return experts, jax.nn.softmax(values, axis=-1)


def smooth_load(
  scores: chex.Array, noisy: chex.Array, std: chex.Array, k: int
) -> chex.Array:
  """The chance that an expert were chosen if its own noise were drawn again.

  `Φ((s_e − t_e) / σ_e)`, t_e the k-th largest noisy score of the others; it has
  a gradient where the choice itself has none. Shazeer et al. (2017), "Load
  balancing".

  Args:
    scores: `[..., E]` without noise.
    noisy: `[..., E]` with it.
    std: `[..., E]` of the noise, positive.
    k: experts chosen, static.

  Returns:
    `[..., E]` in [0, 1]; 1 if all are chosen.
  """
  if k >= scores.shape[-1]:
    return jnp.ones_like(scores)
  largest, _ = top_k(noisy, k + 1)
  kth, following = largest[..., k - 1 : k], largest[..., k : k + 1]
  chosen = noisy > following
  return jax.scipy.special.ndtr(
    (scores - jnp.where(chosen, following, kth)) / std
  )


def squared_variation(x: chex.Array, where: chex.Array) -> chex.Array:
  """Squared coefficient of variation, `var(x) / mean(x)²`: 0 if all are equal.

  The importance and the load loss of Shazeer et al. (2017) are this of the
  experts' gates and of their tokens, summed over a batch.

  Args:
    x: `[..., E]`, not negative.
    where: `[..., E]` bool, the experts that count.

  Returns:
    `[...]`; 0 where all are 0.
  """
  count = jnp.maximum(jnp.sum(where, axis=-1), 1)
  mean = jnp.sum(jnp.where(where, x, 0.0), axis=-1) / count
  safe = jnp.where(mean > 0, mean, 1.0)
  excess = jnp.where(where, x / safe[..., None] - 1.0, 0.0)
  variation = jnp.sum(excess**2, axis=-1) / count
  return jnp.where(mean > 0, variation, 0.0)
