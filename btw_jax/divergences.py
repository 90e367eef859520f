"""Kullback-Leibler divergences between predictive distributions, in nats.

`KL(p || q)` takes `p` first, always. Every function is pure, works under
`jit`, `vmap` and `grad`, and stays finite, in value and gradient, where a
probability is exactly 0 or 1: such a probability stands for the smallest
normal number of its dtype. A finite log-probability is used as it is.
"""

import math

import chex
import jax
import jax.numpy as jnp


def _log_tiny(dtype) -> float:
  return math.log(float(jnp.finfo(dtype).tiny))


def _pair(p: chex.Array, q: chex.Array) -> tuple[chex.Array, chex.Array]:
  """Both arguments in one floating dtype, at least float32."""
  dtype = jnp.promote_types(jnp.result_type(p, q), jnp.float32)
  return jnp.asarray(p, dtype), jnp.asarray(q, dtype)


def _finite(x: chex.Array) -> chex.Array:
  """Infinite log-probabilities and logits made finite, gradient zero there."""
  bound = _log_tiny(x.dtype)
  return jnp.where(jnp.isinf(x), jnp.sign(x) * -bound, x)


def _terms(log_p: chex.Array, log_q: chex.Array) -> chex.Array:
  """`p (log p − log q) + q − p` of every outcome: non-negative, same sum.

  With x = log q − log p this is `p (eˣ − 1 − x)`. Near distributions differ by
  x²/2 only, which a sum of signed terms would lose to rounding.
  """
  x = log_q - log_p
  near = jnp.abs(x) < 1.0
  small = jnp.where(near, x, 0.0)
  p = jnp.exp(log_p)
  far = p * -x + (jnp.exp(log_q) - p)
  return jnp.where(near, p * (jnp.expm1(small) - small), far)


def categorical_kl(
  p_log_probs: chex.Array, q_log_probs: chex.Array
) -> chex.Array:
  """KL between categorical distributions, `Σ_c p_c (log p_c − log q_c)`.

  Cover & Thomas (2006), "Elements of Information Theory", eq. 2.26.

  Args:
    p_log_probs: `[..., C]` normalised log-probabilities of p; −inf means 0.
    q_log_probs: `[..., C]` normalised log-probabilities of q; −inf means 0.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.

  Raises:
    ValueError: if the class axes differ in size.
  """
  p, q = _pair(p_log_probs, q_log_probs)
  if p.shape[-1:] != q.shape[-1:]:
    raise ValueError(
      f"p has {p.shape[-1:]} classes on the last axis and q {q.shape[-1:]}:"
      " give both the same classes."
    )
  return jnp.sum(_terms(_finite(p), _finite(q)), axis=-1)


def bernoulli_kl(p_logits: chex.Array, q_logits: chex.Array) -> chex.Array:
  """KL between Bernoulli distributions, elementwise.

  `p (log p − log q) + (1 − p) (log(1 − p) − log(1 − q))` with `p` the sigmoid
  of the logit. Sum over the last axis for independent labels.

  Args:
    p_logits: `[...]` log-odds of p, ±inf for probabilities 1 and 0.
    q_logits: `[...]` log-odds of q, broadcast against `p_logits`.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.
  """
  p, q = map(_finite, _pair(p_logits, q_logits))
  yes = _terms(jax.nn.log_sigmoid(p), jax.nn.log_sigmoid(q))
  no = _terms(jax.nn.log_sigmoid(-p), jax.nn.log_sigmoid(-q))
  return yes + no


def gaussian_kl(
  p_mean: chex.Array, p_std: chex.Array, q_mean: chex.Array, q_std: chex.Array
) -> chex.Array:
  """KL between univariate Gaussians, elementwise.

  `log(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²) / (2σ_q²) − ½`, computed from the
  log-ratio of the standard deviations so that equal ones give exactly 0.

  Args:
    p_mean: `[...]` mean of p.
    p_std: `[...]` standard deviation of p, positive.
    q_mean: `[...]` mean of q.
    q_std: `[...]` standard deviation of q, positive.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.
  """
  p_mean, q_mean = _pair(p_mean, q_mean)
  p_std, q_std = _pair(p_std, q_std)
  log_ratio = jnp.log(p_std) - jnp.log(q_std)
  distance = (p_mean - q_mean) / q_std
  spread = jnp.expm1(2.0 * log_ratio) - 2.0 * log_ratio
  return 0.5 * (spread + distance**2)


def laplace_kl(
  p_loc: chex.Array,
  p_scale: chex.Array,
  q_loc: chex.Array,
  q_scale: chex.Array,
) -> chex.Array:
  """KL between Laplace distributions, elementwise.

  `log(b_q/b_p) + (b_p exp(−|Δ|/b_p) + |Δ|) / b_q − 1`, `Δ = μ_p − μ_q`.
  Meyer (2021), "An alternative probabilistic interpretation of the Huber
  loss".

  Args:
    p_loc: `[...]` location of p.
    p_scale: `[...]` scale b of p (mean absolute deviation), positive.
    q_loc: `[...]` location of q.
    q_scale: `[...]` scale b of q, positive.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.
  """
  p_loc, q_loc = _pair(p_loc, q_loc)
  p_scale, q_scale = _pair(p_scale, q_scale)
  log_ratio = jnp.log(p_scale) - jnp.log(q_scale)
  distance = jnp.abs(p_loc - q_loc)
  # b_p exp(−|Δ|/b_p) + |Δ| = b_p + |Δ| + b_p expm1(−|Δ|/b_p).
  excess = distance + p_scale * jnp.expm1(-distance / p_scale)
  return jnp.expm1(log_ratio) - log_ratio + excess / q_scale
