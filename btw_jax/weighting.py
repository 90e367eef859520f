"""The BTW rule: how much each modality counts, per example, without learning.

Beyond Two-modality Weighting, arXiv 2508.18551. Weights are
non-negative, 0 where a modality is absent, and each row sums to 1 over the
modalities present.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import predictions
from btw_jax import types

# Divergence and information below this count as this, so that no weight is
# exactly 0 and a negative estimate of information counts as none.
FLOOR = 1e-5

# variant -> (weigh each example by divergence?, weigh modalities over the set
# by information "mi", by correlation "cc", or not at all?)
VARIANTS = {
  "uniform": (False, None),
  "kl": (True, None),
  "mi": (False, "mi"),
  "cc": (False, "cc"),
  "kl+mi": (True, "mi"),
  "kl+cc": (True, "cc"),
}

# The step of α after each refresh, and its start.
_ALPHA_START, _ALPHA_STEP = 0.5, 0.05


class WeightState(NamedTuple):
  """Moving average of the weights of a training set.

  Attributes:
    table: `[N, M]` averaged weights W, rows summing to 1.
    alpha: scalar in [0, 1], the share of the next refresh.
    best_val_loss: scalar, the best validation loss so far.
  """

  table: chex.Array
  alpha: chex.Array
  best_val_loss: chex.Array


def weigh(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  *,
  present: chex.Array | None = None,
  variant: str = "kl+mi",
  information: chex.Array | None = None,
  kind: str = "kl",
  transform: str = "none",
  agreement: bool = False,
) -> chex.Array:
  """Weights of every modality for every example.

  `w_im ∝ k_im · g_m`: `k_im` from `KL(p_im || q_i)` for each example, `g_m`
  from the information between p_m and q over the examples at hand.

  Args:
    unimodal: one prediction whose arrays carry a leading M axis, then N.
    multimodal: prediction of the multimodal model for the same N examples.
    present: `[N, M]` bool, whether the example has the modality; all have by
      default. Examples without a modality do not count in its information.
    variant: a name of `VARIANTS`, static.
    information: `[M]` information (or correlation) known from another set, in
      place of estimating it from these examples.
    kind: a name of `predictions.DIVERGENCES` to measure in place of KL, static.
    transform: of point predictions before information is estimated, a name of
      `transforms.TRANSFORMS`, static.
    agreement: weigh by `1 / (KL + FLOOR)` instead of by KL, static.

  Returns:
    `[N, M]` weights, rows summing to 1 over the modalities present.

  Raises:
    ValueError: if `variant` is unknown.
  """
  if variant not in VARIANTS:
    raise ValueError(
      f"variant={variant!r} is unknown: use one of {', '.join(VARIANTS)}."
    )
  by_divergence, between = VARIANTS[variant]
  num_modalities, num_examples = jax.tree.leaves(unimodal)[0].shape[:2]
  if present is None:
    present = jnp.ones((num_examples, num_modalities), bool)
  instance = modality = None
  if by_divergence:
    measured = divergence(unimodal, multimodal, kind=kind)
    if agreement:
      measured = 1.0 / (measured + FLOOR)
    instance = instance_weights(measured, present)
  if between is not None:
    if information is None:
      information = set_information(
        unimodal,
        multimodal,
        present=present,
        measure=between,
        transform=transform,
      )
    modality = modality_weights(information)
  if instance is None:
    instance = uniform(present)
  if modality is None:
    modality = jnp.ones(num_modalities) / num_modalities
  return combine(instance, modality, present)


def divergence(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  *,
  kind: str = "kl",
) -> chex.Array:
  """`d_im = KL(p_im || q_i)` of every modality and example.

  Args:
    unimodal: one prediction with leading axes M, N.
    multimodal: prediction with leading axis N.
    kind: a name of `predictions.DIVERGENCES` to measure in place of KL, static.

  Returns:
    `[N, M]` nats.
  """

  def of_modality(p):
    return predictions.divergence(p, multimodal, kind=kind)

  return jax.vmap(of_modality, out_axes=1)(unimodal)


def set_information(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  *,
  present: chex.Array,
  measure: str = "mi",
  transform: str = "none",
  axis_name: str | None = None,
) -> chex.Array:
  """What each modality's model tells about the multimodal one, over a set.

  Args:
    unimodal: one prediction with leading axes M, N.
    multimodal: prediction with leading axis N.
    present: `[N, M]` bool; examples without a modality do not count in it.
    measure: "mi" (nats) or "cc" (Pearson correlation), static.
    transform: of point predictions before "mi", a name of
      `transforms.TRANSFORMS`, static.
    axis_name: of a mapped axis over which the examples are spread; all are at
      hand by default.

  Returns:
    `[M]`, not clipped.
  """

  def of_modality(p, where):
    if measure == "cc":
      return predictions.correlation(
        p, multimodal, where=where, axis_name=axis_name
      )
    return predictions.information(
      p, multimodal, where=where, transform=transform, axis_name=axis_name
    )

  return jax.vmap(of_modality, (0, 1))(unimodal, present)


def uniform(present: chex.Array) -> chex.Array:
  """Equal weights over the modalities present.

  Args:
    present: `[..., M]` bool.

  Returns:
    `[..., M]`, rows summing to 1 (0 where nothing is present).
  """
  present = present.astype(jnp.float32)
  return present / jnp.maximum(jnp.sum(present, -1, keepdims=True), 1.0)


def instance_weights(
  divergence: chex.Array, present: chex.Array | None = None
) -> chex.Array:
  """`k_im = d_im / Σ_m d_im`.

  Args:
    divergence: `[..., M]` nats, floored at `FLOOR`.
    present: `[..., M]` bool; all by default.

  Returns:
    `[..., M]`, rows summing to 1 over the modalities present.
  """
  divergence = jnp.maximum(divergence, FLOOR)
  if present is None:
    present = jnp.ones(divergence.shape, bool)
  return _normalise(divergence, present)


def modality_weights(information: chex.Array) -> chex.Array:
  """`g_m = I_m / Σ I_m`.

  Args:
    information: `[..., M]` nats (or a correlation), floored at `FLOOR`.

  Returns:
    `[..., M]`, rows summing to 1.
  """
  information = jnp.maximum(information, FLOOR)
  return information / jnp.sum(information, axis=-1, keepdims=True)


def combine(
  instance: chex.Array,
  modality: chex.Array,
  present: chex.Array | None = None,
) -> chex.Array:
  """`w_im ∝ k_im · g_m`.

  Args:
    instance: `[..., M]` weights of each example.
    modality: `[M]` weights of the set.
    present: `[..., M]` bool; all by default.

  Returns:
    `[..., M]`, rows summing to 1 over the modalities present.
  """
  if present is None:
    present = jnp.ones(instance.shape, bool)
  return _normalise(instance * modality, present)


def init(
  num_examples: int, num_modalities: int, present: chex.Array | None = None
) -> WeightState:
  """The moving average before the first refresh: uniform weights, α = 0.5.

  Args:
    num_examples: N, static.
    num_modalities: M, static.
    present: `[N, M]` bool; all by default.

  Returns:
    A `WeightState`.
  """
  if present is None:
    present = jnp.ones((num_examples, num_modalities), bool)
  return WeightState(
    table=uniform(present),
    alpha=jnp.float32(_ALPHA_START),
    best_val_loss=jnp.float32(jnp.inf),
  )


def update(
  state: WeightState, weights: chex.Array, val_loss: chex.Array
) -> WeightState:
  """One refresh: `W ← α·w + (1−α)·W`, then α moves.

  α rises by 0.05 when the validation loss did not improve on its best, else
  falls by 0.05, within [0, 1].

  Args:
    state: the average so far.
    weights: `[N, M]` newly computed weights.
    val_loss: scalar, the validation loss now.

  Returns:
    The next `WeightState`.
  """
  improved = val_loss < state.best_val_loss
  alpha = state.alpha + jnp.where(improved, -_ALPHA_STEP, _ALPHA_STEP)
  return WeightState(
    table=_mix(state.table, weights, state.alpha),
    alpha=jnp.clip(alpha, 0.0, 1.0),
    best_val_loss=jnp.minimum(state.best_val_loss, val_loss),
  )


def prior(
  table: chex.Array,
  present: chex.Array | None = None,
  *,
  strength: chex.Array | float = 1.0,
  axis_name: str | None = None,
) -> chex.Array:
  """Weights to expect of an example never seen: the mean row of W.

  Args:
    table: `[N, M]` averaged weights.
    present: `[N, M]` bool; a modality's mean is over the examples having it.
    strength: λ of `multipliers`; the mean is of `(1−λ)·u + λ·W`.
    axis_name: of a mapped axis over which the examples are spread; all are at
      hand by default.

  Returns:
    `[M]` summing to 1.
  """
  if present is None:
    present = jnp.ones(table.shape, bool)

  def sums(examples, counts):
    table, present = examples
    # w·M_i is free of how many modalities an example happens to have.
    relative = table * jnp.sum(present, axis=-1, keepdims=True)
    there = present & counts[:, None]
    return (
      jnp.sum(there, axis=0),
      jnp.sum(jnp.where(there, relative, 0.0), axis=0),
    )

  count, mean = types.total(
    chunked.sum_chunks(sums, (table, present)), axis_name
  )
  # Of uniform weights it is 1.
  mean = _mix(1.0, mean / jnp.maximum(count, 1), strength)
  return mean / jnp.maximum(jnp.sum(mean), FLOOR)


def unseen(
  reweigh: Callable[[chex.Array], chex.Array],
  expected: chex.Array,
  alpha: chex.Array,
  present: chex.Array,
  *,
  num_refinements: int = 1,
) -> chex.Array:
  """Weights for examples that have no history in W.

  From the prior w0, predict, compute w against that prediction, and mix as
  the moving average does: `w1 = α·w + (1−α)·w0`. Without the mixing the
  weights leave the range seen in training.

  Args:
    reweigh: maps weights `[N, M]` to the weights `[N, M]` computed against the
      prediction that they give.
    expected: `[M]`, the prior over modalities.
    alpha: scalar in [0, 1].
    present: `[N, M]` bool.
    num_refinements: how often to refine, static; more than a few oscillate.

  Returns:
    `[N, M]` weights, rows summing to 1 over the modalities present.
  """
  start = _normalise(jnp.broadcast_to(expected, present.shape), present)
  weights = start
  for _ in range(num_refinements):
    weights = _mix(start, reweigh(weights), alpha)
  return weights


def multipliers(
  weights: chex.Array,
  present: chex.Array,
  *,
  strength: chex.Array | float = 1.0,
  scale: chex.Array | float = 1.0,
) -> chex.Array:
  """What each embedding is multiplied by: `c · M_i · ((1−λ)·u + λ·w)`.

  Uniform weights, or strength 0, give exactly `scale`, whatever the number of
  modalities: the plain model. M_i counts the modalities present.

  Args:
    weights: `[..., M]`, rows summing to 1 over the modalities present.
    present: `[..., M]` bool.
    strength: λ in [0, 1].
    scale: c, the embedding scale.

  Returns:
    `[..., M]`, 0 where the modality is absent, mean `scale` over the others.
  """
  even = uniform(present)
  # A quotient of equal floats is exactly 1; w·M_i is not for every M_i.
  relative = jnp.where(present, weights, 1.0) / jnp.where(present, even, 1.0)
  return jnp.where(present, scale * _mix(1.0, relative, strength), 0.0)


def _mix(old, new, share):
  """`(1 − share)·old + share·new`, exactly `old` where both agree."""
  return old + share * (new - old)


def _normalise(values, present):
  values = jnp.where(present, values, 0.0)
  total = jnp.sum(values, axis=-1, keepdims=True)
  return values / jnp.where(total > 0, total, 1.0)
