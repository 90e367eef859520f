"""The BTW rule: weights of modalities per example, without learning.

Beyond Two-modality Weighting, arXiv 2508.18551. Weights are non-negative, 0
for a missing modality, and rows sum to 1, except for those of `minmax`.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import predictions
from btw_jax import types

# The least divergence and information that weights are computed from. No weight
# is then exactly 0, and a negative estimate of information counts as none.
FLOOR = 1e-5

# Variant -> (whether to weigh each example by divergence, the measure that
# weighs modalities over the set: "mi" information, "cc" correlation, or None).
VARIANTS = {
  "uniform": (False, None),
  "kl": (True, None),
  "mi": (False, "mi"),
  "cc": (False, "cc"),
  "kl+mi": (True, "mi"),
  "kl+cc": (True, "cc"),
}

# The initial α of the moving average, and its step after each refresh.
_ALPHA_START, _ALPHA_STEP = 0.5, 0.05


class WeightState(NamedTuple):
  """The moving average of the weights of a training set.

  Attributes:
    table: `[N, M]` averaged weights W; rows sum to 1.
    alpha: scalar in [0, 1], the share α of new weights at the next refresh.
    best_val_loss: scalar, the lowest validation loss so far.
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
  """Computes the weights of all modalities for all examples.

  `w_im ∝ k_im · g_m`, with `k_im` from the divergence `KL(p_im || q_i)` of each
  example, and `g_m` from the information between p_m and q over all examples.

  Args:
    unimodal: one prediction whose arrays have leading axes M, N.
    multimodal: the multimodal model's prediction for the same N examples.
    present: `[N, M]` bool, True if the example has the modality; all by
      default. Examples without a modality do not count in its information.
    variant: a name of `VARIANTS`, static.
    information: `[M]` information (or correlation) from another set; estimated
      from these examples by default.
    kind: a name of `predictions.DIVERGENCES` that replaces KL, static.
    transform: a name of `transforms.TRANSFORMS`, static, applied to the means
      of `Gaussian` and `Laplace` predictions before information is estimated.
    agreement: weigh by `1 / (KL + FLOOR)` instead of by KL, static.

  Returns:
    `[N, M]` weights; rows sum to 1 over the present modalities.

  Raises:
    ValueError: if `variant` is unknown.
  """
  if variant not in VARIANTS:
    raise ValueError(
      f"variant={variant!r} is unknown: use one of {', '.join(VARIANTS)}."
    )
  by_divergence, measure = VARIANTS[variant]
  num_modalities, num_examples = jax.tree.leaves(unimodal)[0].shape[:2]
  if present is None:
    present = jnp.ones((num_examples, num_modalities), bool)
  instance = uniform(present)
  modality = jnp.ones(num_modalities) / num_modalities
  if by_divergence:
    divergences = divergence(unimodal, multimodal, kind=kind)
    if agreement:
      divergences = 1.0 / (divergences + FLOOR)
    instance = instance_weights(divergences, present)
  if measure is not None:
    if information is None:
      information = set_information(
        unimodal,
        multimodal,
        present=present,
        measure=measure,
        transform=transform,
      )
    modality = modality_weights(information)
  return combine(instance, modality, present)


def divergence(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  *,
  kind: str = "kl",
) -> chex.Array:
  """Computes `d_im = KL(p_im || q_i)` for all examples and modalities.

  Args:
    unimodal: one prediction with leading axes M, N.
    multimodal: a prediction with leading axis N.
    kind: a name of `predictions.DIVERGENCES` that replaces KL, static.

  Returns:
    `[N, M]` divergence in nats.
  """

  def modality_divergence(p):
    return predictions.divergence(p, multimodal, kind=kind)

  return jax.vmap(modality_divergence, out_axes=1)(unimodal)


def set_information(
  unimodal: predictions.Prediction,
  multimodal: predictions.Prediction,
  *,
  present: chex.Array,
  measure: str = "mi",
  transform: str = "none",
  axis_name: str | None = None,
) -> chex.Array:
  """Measures how each unimodal model relates to the multimodal model.

  Args:
    unimodal: one prediction with leading axes M, N.
    multimodal: a prediction with leading axis N.
    present: `[N, M]` bool; examples without a modality do not count in it.
    measure: "mi" (information in nats) or "cc" (Pearson correlation), static.
    transform: a name of `transforms.TRANSFORMS`, static, applied to the means
      of `Gaussian` and `Laplace` predictions before "mi".
    axis_name: a mapped axis over which the examples are sharded; not sharded
      by default.

  Returns:
    `[M]` estimates, not clipped.
  """

  def measure_modality(p, where):
    if measure == "cc":
      return predictions.correlation(
        p, multimodal, where=where, axis_name=axis_name
      )
    return predictions.information(
      p, multimodal, where=where, transform=transform, axis_name=axis_name
    )

  return jax.vmap(measure_modality, (0, 1))(unimodal, present)


def uniform(present: chex.Array) -> chex.Array:
  """Returns equal weights for the present modalities.

  Args:
    present: `[..., M]` bool.

  Returns:
    `[..., M]` weights; rows sum to 1, or 0 if no modality is present.
  """
  present = present.astype(jnp.float32)
  return present / jnp.maximum(jnp.sum(present, -1, keepdims=True), 1.0)


def instance_weights(
  divergence: chex.Array, present: chex.Array | None = None
) -> chex.Array:
  """Computes the instance weights `k_im = d_im / Σ_m d_im`.

  Args:
    divergence: `[..., M]` in nats; values below `FLOOR` are raised to it.
    present: `[..., M]` bool; all by default.

  Returns:
    `[..., M]` weights; rows sum to 1 over the present modalities.
  """
  divergence = jnp.maximum(divergence, FLOOR)
  if present is None:
    present = jnp.ones(divergence.shape, bool)
  return _normalise(divergence, present)


def modality_weights(information: chex.Array) -> chex.Array:
  """Computes the modality weights `g_m = I_m / Σ I_m`.

  Args:
    information: `[..., M]` in nats, or a correlation; values below `FLOOR` are
      raised to it.

  Returns:
    `[..., M]` weights; rows sum to 1.
  """
  information = jnp.maximum(information, FLOOR)
  return information / jnp.sum(information, axis=-1, keepdims=True)


def combine(
  instance: chex.Array,
  modality: chex.Array,
  present: chex.Array | None = None,
) -> chex.Array:
  """Combines instance and modality weights, `w_im ∝ k_im · g_m`.

  Args:
    instance: `[..., M]` instance weights k.
    modality: `[M]` modality weights g.
    present: `[..., M]` bool; all by default.

  Returns:
    `[..., M]` weights; rows sum to 1 over the present modalities.
  """
  if present is None:
    present = jnp.ones(instance.shape, bool)
  return _normalise(instance * modality, present)


def init(
  num_examples: int, num_modalities: int, present: chex.Array | None = None
) -> WeightState:
  """Returns the initial moving average: uniform weights and α = 0.5.

  Args:
    num_examples: N, static.
    num_modalities: M, static.
    present: `[N, M]` bool; all by default.

  Returns:
    The `WeightState` before the first refresh.
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
  """Updates the moving average, `W ← α·w + (1−α)·W`, and then α.

  α falls by 0.05 if the validation loss is below its best value, and rises by
  0.05 otherwise, within [0, 1].

  Args:
    state: the current moving average.
    weights: `[N, M]` new weights w.
    val_loss: scalar, the current validation loss.

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
  sums_to_one: chex.Array | bool = True,
) -> chex.Array:
  """Computes the prior weights for unseen examples: the mean row of W.

  Args:
    table: `[N, M]` averaged weights W.
    present: `[N, M]` bool; the mean of a modality is over the examples that
      have it. All by default.
    strength: λ in [0, 1]; the mean is that of `(1−λ)·uniform + λ·W`.
    axis_name: a mapped axis over which the examples are sharded, if they are.
    sums_to_one: scalar bool, False for the weights of `minmax`.

  Returns:
    `[M]` weights, which sum to 1 if `sums_to_one`.
  """
  if present is None:
    present = jnp.ones(table.shape, bool)

  def sum_chunk(examples, mask):
    table, present = examples
    # w·M_i averages 1 over the modalities of an example, however many it has.
    relative = table * jnp.sum(present, axis=-1, keepdims=True)
    valid = present & mask[:, None]
    return jnp.sum(valid, 0), jnp.sum(jnp.where(valid, relative, 0.0), 0)

  count, mean = types.psum_over(
    chunked.sum_chunks(sum_chunk, (table, present)), axis_name
  )
  # For uniform weights, the mean of w·M_i is 1.
  mean = _mix(1.0, mean / jnp.maximum(count, 1), strength)
  total = jnp.where(sums_to_one, jnp.maximum(jnp.sum(mean), FLOOR), mean.size)
  return mean / total


def unseen(
  reweigh: Callable[[chex.Array], chex.Array],
  prior_weights: chex.Array,
  alpha: chex.Array,
  present: chex.Array,
  *,
  num_refinements: int = 1,
  sums_to_one: chex.Array | bool = True,
) -> chex.Array:
  """Computes weights for unseen examples, which have no row in W.

  Starting from the prior w0, predict, compute weights w against this
  prediction, and mix them as the moving average does: `w1 = α·w + (1−α)·w0`.
  Without the mixing, weights leave the range seen in training.

  Args:
    reweigh: predicts with weights `[N, M]` and returns the weights `[N, M]`
      computed against this prediction.
    prior_weights: `[M]`, as returned by `prior`.
    alpha: scalar in [0, 1].
    present: `[N, M]` bool.
    num_refinements: number of refinements, static; many of them oscillate.
    sums_to_one: scalar bool, False for the weights of `minmax`.

  Returns:
    `[N, M]` weights, 0 for a missing modality; rows sum to 1 if `sums_to_one`.
  """
  # Rows of `minmax` keep their sizes, relative to uniform weights.
  relative = uniform(present) * prior_weights * prior_weights.shape[-1]
  start = jnp.where(sums_to_one, _normalise(prior_weights, present), relative)
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
  """Computes the factors of embeddings, `c · M_i · ((1−λ)·uniform + λ·w)`.

  M_i is the number of present modalities. Uniform weights, or strength 0, give
  exactly `scale`, whatever M_i is: the plain model.

  Args:
    weights: `[..., M]`; rows sum to 1 over the present modalities.
    present: `[..., M]` bool.
    strength: λ in [0, 1].
    scale: c, the embedding scale.

  Returns:
    `[..., M]` factors; 0 for a missing modality, mean `scale` over the others.
  """
  even = uniform(present)
  # w / (1/M_i) is exactly 1 for uniform weights; the product w·M_i can round.
  # The inner `where`s keep 0/0 out of values and gradients.
  relative = jnp.where(present, weights, 1.0) / jnp.where(present, even, 1.0)
  return jnp.where(present, scale * _mix(1.0, relative, strength), 0.0)


def _mix(old, new, share):
  """Returns `(1 − share)·old + share·new`, exactly `old` if both agree."""
  return old + share * (new - old)


def _normalise(values, present):
  """Scales rows to sum 1 over the present modalities; 0 if there are none."""
  values = jnp.where(present, values, 0.0)
  total = jnp.sum(values, axis=-1, keepdims=True)
  # Dividing by 1 where a row is all 0 avoids NaN, in value and gradient.
  return values / jnp.where(total > 0, total, 1.0)
