"""How much each training example counts in the loss, by what decides it."""

import chex
import jax
import jax.numpy as jnp
from jax.scipy import stats

from btw_jax import predictions
from btw_jax import types
from btw_jax.analysis import decisions
from btw_jax.analysis import pid

_NUM_BINS = 5
# A refresh solves small problems, again after every epoch.
_NUM_ITERATIONS, _TOLERANCE = 100, 1e-4


def by_interaction(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  present: chex.Array,
  axis_name: str | tuple[str, str] | None = None,
) -> chex.Array:
  """More for examples that lean on one modality and leave synergy unused.

  Of the soft joint of each modality m, of the rest, and of the decision, every
  example has a pointwise unique information u_im and synergy s_im
  (`pid.pointwise`, `decisions.scores`). By `t_i = max_m u_im - mean_m s_im`,
  standardised over the set, an example counts `2 σ(t_i)`, divided by the mean.

  Args:
    unimodal: predictions, each array `[M, N, ...]`.
    multimodal: predictions, each array `[N, ...]`.
    present: `[N, M]` bool.
    axis_name: of the devices that examples are spread over, or None.

  Returns:
    `[N]` weights of mean 1 over examples that have a modality at all.
  """
  count = jnp.any(present, axis=-1)

  def mean(x):
    total, number = types.total(
      (jnp.sum(jnp.where(count, x, 0.0)), jnp.sum(count)), axis_name
    )
    return total / jnp.maximum(number, 1)

  edges = None
  if isinstance(multimodal, predictions.POINTS):
    # Of a normal law, since quantiles of what is spread are not at hand.
    centre = mean(multimodal[0])
    spread = jnp.sqrt(mean((multimodal[0] - centre) ** 2))
    edges = centre + spread * stats.norm.ppf(
      jnp.arange(1, _NUM_BINS) / _NUM_BINS
    )
  alone = decisions.probabilities(unimodal, edges)
  target = decisions.probabilities(multimodal, edges)
  if target.ndim == 2:
    alone, target = alone[:, :, None], target[:, None]
  unique, synergy = jax.vmap(
    lambda p, q: _scores(p, q, present, axis_name), (2, 1)
  )(alone, target)
  leaning = jnp.sum(jnp.max(unique, axis=1) - jnp.mean(synergy, axis=1), 0)
  centre = mean(leaning)
  spread = jnp.sqrt(mean((leaning - centre) ** 2))
  weights = 2 * jax.nn.sigmoid(
    (leaning - centre) / jnp.where(spread > 0, spread, 1.0)
  )
  return weights / mean(weights)


def _scores(alone, target, present, axis_name):
  """`[M, N]` pointwise unique information and synergy of each modality."""
  shares = jnp.where(present.T, 1.0, 0.0)
  # The others decide by the mean of what they would alone.
  others = (
    jnp.sum(shares[..., None] * alone, axis=0) - shares[..., None] * alone
  )
  number = jnp.sum(shares, axis=0) - shares
  rest = others / jnp.maximum(number, 1)[..., None]
  counts = (shares > 0) & (number > 0)

  def of_modality(own, rest, counts):
    own = jnp.where(counts[:, None], own, 0.0)
    joint = types.total(decisions.soft([own, rest], target), axis_name)
    atoms = pid.pointwise(
      joint, num_iterations=_NUM_ITERATIONS, tolerance=_TOLERANCE
    )
    return [
      decisions.scores(atom, own, rest, target)
      for atom in (atoms.unique1, atoms.synergistic)
    ]

  return jax.vmap(of_modality)(alone, rest, counts)


# weighting -> hook of `training.rule.Rule.examples`
IMPORTANCE = {"pid": by_interaction}
