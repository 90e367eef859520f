"""Gating functions: scores of the experts for a token, and gates from scores.

The functions take scores `[..., E]`, one per expert. A router chooses the
experts with the largest scores.
"""

import chex
import jax
import jax.numpy as jnp


def softmax(x: chex.Array, vectors: chex.Array) -> chex.Array:
  """Computes scores as inner products, `x·v_e`.

  Shazeer et al. (2017), "Outrageously large neural networks".

  Args:
    x: `[..., D]` tokens.
    vectors: `[E, D]`, one per expert.

  Returns:
    `[..., E]`.
  """
  return x @ vectors.T


def gaussian(x: chex.Array, centres: chex.Array) -> chex.Array:
  """Computes scores as negative squared distances, `−‖x − c_e‖²`.

  Han et al. (2024), "FuseMoE: mixture-of-experts transformers for fleximodal
  fusion".

  Args:
    x: `[..., D]` tokens.
    centres: `[E, D]`, one per expert.

  Returns:
    `[..., E]`, at most 0.
  """
  squares = jnp.sum(x**2, axis=-1)[..., None] + jnp.sum(centres**2, axis=-1)
  # Rounding may make a distance negative.
  return -jnp.maximum(squares - 2.0 * (x @ centres.T), 0.0)


def laplace(x: chex.Array, centres: chex.Array) -> chex.Array:
  """Computes scores as negative distances, `−‖x − c_e‖`.

  Han et al. (2024), "FuseMoE".

  Args:
    x: `[..., D]` tokens.
    centres: `[E, D]`, one per expert.

  Returns:
    `[..., E]`, at most 0. The gradient is 0 where token and centre coincide.
  """
  squares = -gaussian(x, centres)
  positive = squares > 0
  # The inner `where` keeps the infinite slope of the root at 0 out of the
  # gradient.
  return -jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)


# name -> function that computes scores
GATINGS = {"softmax": softmax, "laplace": laplace, "gaussian": gaussian}


def top_k(scores: chex.Array, k: int) -> tuple[chex.Array, chex.Array]:
  """Returns the k largest scores in descending order; the first if tied.

  It searches the maximum k times, which takes a fraction of the time of
  `lax.top_k` on CPU.

  Args:
    scores: `[..., E]`.
    k: at most E, static.

  Returns:
    Values and positions, `[..., k]`.
  """
  values, positions = [], []
  remaining = jax.lax.stop_gradient(scores)
  for _ in range(k):
    position = jnp.argmax(remaining, axis=-1)[..., None]
    values.append(jnp.take_along_axis(scores, position, axis=-1))
    positions.append(position)
    taken = jnp.arange(scores.shape[-1]) == position
    remaining = jnp.where(taken, -jnp.inf, remaining)
  return jnp.concatenate(values, axis=-1), jnp.concatenate(positions, axis=-1)


def select(scores: chex.Array, k: int) -> tuple[chex.Array, chex.Array]:
  """Selects the k experts with the largest scores and computes their gates.

  The gates are a softmax over the selected scores: Shazeer et al. (2017) set
  the other scores to −∞.

  Args:
    scores: `[..., E]`.
    k: at most E, static.

  Returns:
    Experts `[..., k]` int, and gates `[..., k]` that sum to 1.
  """
  values, experts = top_k(scores, k)
  return experts, jax.nn.softmax(values, axis=-1)


def smooth_load(
  scores: chex.Array, noisy: chex.Array, std: chex.Array, k: int
) -> chex.Array:
  """Computes how likely an expert is chosen if its noise is drawn again.

  `Φ((s_e − t_e) / σ_e)`, where t_e is the k-th largest noisy score of the other
  experts. It has a gradient, unlike the choice itself. Shazeer et al. (2017),
  "Load balancing".

  Args:
    scores: `[..., E]` without noise.
    noisy: `[..., E]` scores with noise.
    std: `[..., E]` standard deviation of the noise, positive.
    k: number of selected experts, static.

  Returns:
    `[..., E]` in [0, 1]; 1 if all experts are selected.
  """
  if k >= scores.shape[-1]:
    return jnp.ones_like(scores)
  largest, _ = top_k(noisy, k + 1)
  kth, following = largest[..., k - 1 : k], largest[..., k : k + 1]
  # For a chosen expert, the k-th largest score of the others is the (k + 1)-th
  # largest of all.
  chosen = noisy > following
  return jax.scipy.special.ndtr(
    (scores - jnp.where(chosen, following, kth)) / std
  )


def squared_variation(x: chex.Array, where: chex.Array) -> chex.Array:
  """Computes the squared coefficient of variation, `var(x) / mean(x)²`.

  The importance loss and the load loss of Shazeer et al. (2017) apply it to the
  experts' gates and to their token counts, summed over a batch.

  Args:
    x: `[..., E]`, not negative.
    where: `[..., E]` bool, experts to include.

  Returns:
    `[...]`; 0 if all values are equal, also if all are 0.
  """
  count = jnp.maximum(jnp.sum(where, axis=-1), 1)
  mean = jnp.sum(jnp.where(where, x, 0.0), axis=-1) / count
  safe = jnp.where(mean > 0, mean, 1.0)
  excess = jnp.where(where, x / safe[..., None] - 1.0, 0.0)
  variation = jnp.sum(excess**2, axis=-1) / count
  return jnp.where(mean > 0, variation, 0.0)
