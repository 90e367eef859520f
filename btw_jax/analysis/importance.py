"""Weights of training examples in the loss, from their pointwise PID."""

import chex
import jax
import jax.numpy as jnp
from jax.scipy import stats

from btw_jax import predictions
from btw_jax import types
from btw_jax.analysis import decisions
from btw_jax.analysis import pid

_NUM_BINS = 5
# Every refresh solves these small problems again, so a coarse solution will do.
_NUM_ITERATIONS, _TOLERANCE = 100, 1e-4


def by_interaction(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  present: chex.Array,
  axis_name: str | tuple[str, str] | None = None,
) -> chex.Array:
  """Computes larger weights for examples that rely on a single modality.

  For each modality m it builds the soft joint of m, the other modalities and
  the decision. Every example has a pointwise unique information u_im and
  synergy s_im in it (`pid.pointwise`, `decisions.scores`). With
  `t_i = max_m u_im - mean_m s_im`, standardised over the set, the weight is
  `2 σ(t_i)`, divided by its mean.

  Predictions are `[M, N, ...]` and `[N, ...]`, `present` is `[N, M]`.
  `axis_name` is the axis of the devices that the examples are sharded over, or
  None. The weights `[N]` have mean 1 over examples with at least one modality.
  """
  nonempty = jnp.any(present, axis=-1)

  def mean(x):
    total, count = types.psum_over(
      (jnp.sum(jnp.where(nonempty, x, 0.0)), jnp.sum(nonempty)), axis_name
    )
    return total / jnp.maximum(count, 1)

  edges = None
  if isinstance(multimodal, predictions.CONTINUOUS):
    # Quantiles of a normal distribution, because quantiles of sharded
    # predictions would need all of them on one device.
    centre = mean(multimodal[0])
    spread = jnp.sqrt(mean((multimodal[0] - centre) ** 2))
    edges = centre + spread * stats.norm.ppf(
      jnp.arange(1, _NUM_BINS) / _NUM_BINS
    )
  sources = decisions.probabilities(unimodal, edges)
  target = decisions.probabilities(multimodal, edges)
  if target.ndim == 2:
    sources, target = sources[:, :, None], target[:, None]
  unique, synergy = jax.vmap(
    lambda p, q: _scores(p, q, present, axis_name), (2, 1)
  )(sources, target)
  reliance = jnp.sum(jnp.max(unique, axis=1) - jnp.mean(synergy, axis=1), 0)
  centre = mean(reliance)
  spread = jnp.sqrt(mean((reliance - centre) ** 2))
  weights = 2 * jax.nn.sigmoid(
    (reliance - centre) / jnp.where(spread > 0, spread, 1.0)
  )
  return weights / mean(weights)


def _scores(sources, target, present, axis_name):
  """Returns unique information and synergy of each modality, `[M, N]` each.

  `sources` are `[M, N, C]` decisions of the unimodal models, `target` `[N, C]`.
  """
  masks = jnp.where(present.T, 1.0, 0.0)
  # The second source is the mean decision of the other present modalities.
  others = (
    jnp.sum(masks[..., None] * sources, axis=0) - masks[..., None] * sources
  )
  num_others = jnp.sum(masks, axis=0) - masks
  others_mean = others / jnp.maximum(num_others, 1)[..., None]
  valid = (masks > 0) & (num_others > 0)

  def score_modality(first, second, valid):
    first = jnp.where(valid[:, None], first, 0.0)
    joint = types.psum_over(decisions.soft([first, second], target), axis_name)
    atoms = pid.pointwise(
      joint, num_iterations=_NUM_ITERATIONS, tolerance=_TOLERANCE
    )
    return [
      decisions.scores(atom, first, second, target)
      for atom in (atoms.unique1, atoms.synergistic)
    ]

  return jax.vmap(score_modality)(sources, others_mean, valid)


# weighting -> hook of `training.weighting_rule.Rule.examples`
IMPORTANCE = {"pid": by_interaction}
