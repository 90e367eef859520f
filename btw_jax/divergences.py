"""Divergences between predictive distributions, in nats.

Kullback–Leibler, `KL(p‖q)`, always takes `p` first; Jeffreys adds its two
directions; Jensen–Shannon is at most log 2. Every function is pure and works
under `jit`, `vmap` and `grad`. Values and gradients stay finite where a
probability is exactly 0 or 1: a 0 counts as the smallest normal number of its
dtype. Finite log-probabilities are used unchanged.
"""

from collections.abc import Callable, Sequence
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types

# The tail exp(−40) is below the resolution of float64: integrals stop there.
_FAR = 40.0


def _log_tiny(dtype) -> float:
  return math.log(float(jnp.finfo(dtype).tiny))


def _finite(x: chex.Array) -> chex.Array:
  """Makes infinite log-probabilities and logits finite, with gradient 0."""
  bound = _log_tiny(x.dtype)
  return jnp.where(jnp.isinf(x), jnp.sign(x) * -bound, x)


def _terms(log_p: chex.Array, log_q: chex.Array) -> chex.Array:
  """Returns `p (log p − log q) + q − p` for every outcome.

  All terms are non-negative, and they sum to the divergence because p and q
  both sum to 1. With x = log q − log p, a term is `p (eˣ − 1 − x)`. For small x
  this is x²/2, which a sum of signed terms would lose to rounding.
  """
  x = log_q - log_p
  near = jnp.abs(x) < 1.0
  # The branch of `where` that is not chosen must stay finite too, because the
  # gradient passes through both: hence the inner `where`.
  small = jnp.where(near, x, 0.0)
  p = jnp.exp(log_p)
  far = p * -x + (jnp.exp(log_q) - p)
  return jnp.where(near, p * (jnp.expm1(small) - small), far)


def categorical_kl(
  p_log_probs: chex.Array, q_log_probs: chex.Array
) -> chex.Array:
  """Computes the KL divergence `Σ_c p_c (log p_c − log q_c)` of categoricals.

  Cover & Thomas (2006), "Elements of Information Theory", eq. 2.26.

  Args:
    p_log_probs: `[..., C]` normalised log-probabilities of p; −inf allowed.
    q_log_probs: `[..., C]` normalised log-probabilities of q; −inf allowed.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.

  Raises:
    ValueError: if p and q have different numbers of classes.
  """
  return _over_classes(_terms, p_log_probs, q_log_probs)


def bernoulli_kl(p_logits: chex.Array, q_logits: chex.Array) -> chex.Array:
  """Computes the KL divergence of Bernoulli distributions, elementwise.

  The formula is `p (log p − log q) + (1 − p) (log(1 − p) − log(1 − q))`, with p
  and q the sigmoids of the logits. For independent labels, sum over the last
  axis.

  Args:
    p_logits: `[...]` log-odds of p, ±inf for probabilities 1 and 0.
    q_logits: `[...]` log-odds of q, broadcast against `p_logits`.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.
  """
  return _over_outcomes(_terms, p_logits, q_logits)


def gaussian_kl(
  p_mean: chex.Array, p_std: chex.Array, q_mean: chex.Array, q_std: chex.Array
) -> chex.Array:
  """Computes the KL divergence of univariate Gaussians, elementwise.

  The formula is `log(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²) / (2σ_q²) − ½`. It is
  computed from log(σ_p/σ_q), so that equal distributions give exactly 0.

  Args:
    p_mean: `[...]` mean of p.
    p_std: `[...]` standard deviation of p, positive.
    q_mean: `[...]` mean of q.
    q_std: `[...]` standard deviation of q, positive.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.
  """
  p_mean, q_mean = types.as_float(p_mean, q_mean)
  p_std, q_std = types.as_float(p_std, q_std)
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
  """Computes the KL divergence of Laplace distributions, elementwise.

  The formula is `log(b_q/b_p) + (b_p exp(−|Δ|/b_p) + |Δ|) / b_q − 1` with
  `Δ = μ_p − μ_q`. Meyer (2021), "An alternative probabilistic interpretation of
  the Huber loss".

  Args:
    p_loc: `[...]` location of p.
    p_scale: `[...]` scale b of p (mean absolute deviation), positive.
    q_loc: `[...]` location of q.
    q_scale: `[...]` scale b of q, positive.

  Returns:
    `[...]` divergence in nats, at least 0 up to rounding.
  """
  p_loc, q_loc = types.as_float(p_loc, q_loc)
  p_scale, q_scale = types.as_float(p_scale, q_scale)
  log_ratio = jnp.log(p_scale) - jnp.log(q_scale)
  distance = jnp.abs(p_loc - q_loc)
  # b_p exp(−|Δ|/b_p) + |Δ| = b_p + |Δ| + b_p expm1(−|Δ|/b_p): the right side
  # does not lose digits where |Δ| is small.
  excess = distance + p_scale * jnp.expm1(-distance / p_scale)
  return jnp.expm1(log_ratio) - log_ratio + excess / q_scale


def jeffreys(
  kl: Callable[..., chex.Array],
  p: Sequence[chex.Array],
  q: Sequence[chex.Array],
) -> chex.Array:
  """Computes the Jeffreys divergence `KL(p‖q) + KL(q‖p)`.

  For example, `jeffreys(gaussian_kl, (p_mean, p_std), (q_mean, q_std))`.
  Jeffreys (1946), "An invariant form for the prior probability in estimation
  problems".

  Args:
    kl: a KL function of this module.
    p: the arguments of `kl` that describe p.
    q: the arguments of `kl` that describe q.

  Returns:
    `[...]` divergence in nats, symmetric in p and q.
  """
  return kl(*p, *q) + kl(*q, *p)


def categorical_js(
  p_log_probs: chex.Array, q_log_probs: chex.Array
) -> chex.Array:
  """Computes the Jensen–Shannon divergence of categorical distributions.

  The formula is `½ KL(p‖m) + ½ KL(q‖m)` with `m = (p + q) / 2`. Lin (1991),
  "Divergence measures based on the Shannon entropy".

  Args:
    p_log_probs: `[..., C]` normalised log-probabilities of p; −inf allowed.
    q_log_probs: `[..., C]` normalised log-probabilities of q; −inf allowed.

  Returns:
    `[...]` divergence in nats, in [0, log 2] up to rounding, symmetric.

  Raises:
    ValueError: if p and q have different numbers of classes.
  """
  return _over_classes(_js_terms, p_log_probs, q_log_probs)


def bernoulli_js(p_logits: chex.Array, q_logits: chex.Array) -> chex.Array:
  """Computes the Jensen–Shannon divergence of Bernoullis, elementwise.

  Args:
    p_logits: `[...]` log-odds of p, ±inf for probabilities 1 and 0.
    q_logits: `[...]` log-odds of q, broadcast against `p_logits`.

  Returns:
    `[...]` divergence in nats, in [0, log 2] up to rounding, symmetric.
  """
  return _over_outcomes(_js_terms, p_logits, q_logits)


def gaussian_js(
  p_mean: chex.Array, p_std: chex.Array, q_mean: chex.Array, q_std: chex.Array
) -> chex.Array:
  """Computes the Jensen–Shannon divergence of Gaussians, elementwise.

  There is no closed form. The trapezoidal rule over the narrower distribution
  is exact within 1e-6 nats.

  Args:
    p_mean: `[...]` mean of p.
    p_std: `[...]` standard deviation of p, positive.
    q_mean: `[...]` mean of q.
    q_std: `[...]` standard deviation of q, positive.

  Returns:
    `[...]` divergence in nats, in [0, log 2] up to rounding, symmetric.
  """
  shift, narrow, wide = _narrow_and_wide(p_mean, p_std, q_mean, q_std)
  nodes, weights = (jnp.asarray(v, shift.dtype) for v in _gaussian_rule())
  distance = (nodes * narrow + shift) / wide
  log_ratio = jnp.log(narrow) - jnp.log(wide) + 0.5 * (nodes**2 - distance**2)
  return jnp.sum(weights * _js_integrand(log_ratio), axis=-1)


def laplace_js(
  p_loc: chex.Array,
  p_scale: chex.Array,
  q_loc: chex.Array,
  q_scale: chex.Array,
) -> chex.Array:
  """Computes the Jensen–Shannon divergence of Laplaces, elementwise.

  There is no closed form. Gauss–Legendre rules over the narrower distribution,
  split at the kinks of both densities, are exact within 1e-6 nats.

  Args:
    p_loc: `[...]` location of p.
    p_scale: `[...]` scale b of p, positive.
    q_loc: `[...]` location of q.
    q_scale: `[...]` scale b of q, positive.

  Returns:
    `[...]` divergence in nats, in [0, log 2] up to rounding, symmetric.
  """
  shift, narrow, wide = _narrow_and_wide(p_loc, p_scale, q_loc, q_scale)
  nodes, weights = (jnp.asarray(v, shift.dtype) for v in _panel_rule())
  # In units of the narrow scale, the narrow centre is at 0 and, by symmetry,
  # the wide one at `distance` to its right: the two kinks of the integrand.
  distance = jnp.abs(shift) / narrow
  between = jnp.minimum(distance, _FAR)

  def integrate(start, length):
    z = start + length * nodes
    log_ratio = jnp.log(narrow) - jnp.log(wide) + jnp.abs(z)
    log_ratio -= jnp.abs(z - distance) * (narrow / wide)
    density = 0.5 * jnp.exp(-jnp.abs(z))
    values = density * _js_integrand(log_ratio)
    return length[..., 0] * jnp.sum(weights * values, axis=-1)

  far = jnp.full_like(distance, _FAR)
  return (
    integrate(-far, far) + integrate(0.0, between) + integrate(distance, far)
  )


def _over_classes(terms, p_log_probs, q_log_probs):
  """Sums `terms` over the classes, the last axis."""
  p, q = types.as_float(p_log_probs, q_log_probs)
  if p.shape[-1:] != q.shape[-1:]:
    raise ValueError(
      f"p has shape {p.shape} and q {q.shape}: give both the same number of"
      " classes, on the last axis."
    )
  return jnp.sum(terms(_finite(p), _finite(q)), axis=-1)


def _over_outcomes(terms, p_logits, q_logits):
  """Sums `terms` over the two outcomes of each label."""
  p, q = map(_finite, types.as_float(p_logits, q_logits))
  yes = terms(jax.nn.log_sigmoid(p), jax.nn.log_sigmoid(q))
  return yes + terms(jax.nn.log_sigmoid(-p), jax.nn.log_sigmoid(-q))


def _js_terms(log_p, log_q):
  """Returns the non-negative Jensen–Shannon term of every outcome."""
  log_m = jnp.logaddexp(log_p, log_q) - math.log(2.0)
  return 0.5 * (_terms(log_p, log_m) + _terms(log_q, log_m))


def _js_integrand(log_ratio):
  """Returns `log 2 − ½ (log(1 + t) + t log(1 + 1/t))`, t the density ratio.

  Its mean under the density in the denominator of t is the divergence. It
  grows only like log t where the denominator vanishes before the numerator.
  """
  # Each branch takes the exponential of a number that is at most 0, so that
  # neither overflows, in value or gradient.
  t = jnp.exp(jnp.minimum(log_ratio, 0.0))
  inverse = jnp.exp(-jnp.maximum(log_ratio, 0.0))
  below = t * (jnp.log1p(t) - jnp.minimum(log_ratio, 0.0))
  # log(1 + u)/u with u = 1/t, by its series where u is small; the inner `where`
  # keeps 0/0 out of the gradient.
  small = inverse < 1e-4
  series = 1.0 - inverse * (1 / 2 - inverse * (1 / 3 - inverse / 4))
  safe = jnp.where(small, 1.0, inverse)
  above = jnp.where(small, series, jnp.log1p(safe) / safe)
  second = jnp.where(log_ratio < 0.0, below, above)
  return math.log(2.0) - 0.5 * (jax.nn.softplus(log_ratio) + second)


def _narrow_and_wide(p_centre, p_scale, q_centre, q_scale):
  """Returns the shift from wide to narrow, and both scales, `[..., 1]`."""
  p_centre, q_centre = types.as_float(p_centre, q_centre)
  p_scale, q_scale = types.as_float(p_scale, q_scale)
  first = p_scale <= q_scale
  shift = jnp.where(first, p_centre - q_centre, q_centre - p_centre)
  narrow = jnp.where(first, p_scale, q_scale)
  wide = jnp.where(first, q_scale, p_scale)
  return tuple(v[..., None] for v in jnp.broadcast_arrays(shift, narrow, wide))


def _gaussian_rule():
  """Returns trapezoidal nodes, in standard deviations, and their weights."""
  nodes = np.linspace(-9.0, 9.0, 145)
  weights = np.exp(-0.5 * nodes**2)
  return nodes, weights / weights.sum()


def _panel_rule():
  """Returns Gauss–Legendre nodes and weights on [0, 1], dense near 0."""
  edges = np.array([0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
  nodes, weights = np.polynomial.legendre.leggauss(16)
  widths = np.diff(edges)[:, None]
  inner = edges[:-1, None] + widths * (nodes + 1) / 2
  return inner.ravel(), (widths * weights / 2).ravel()
