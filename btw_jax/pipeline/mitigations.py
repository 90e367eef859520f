"""From a configuration to the hook that trains against interference."""

from collections.abc import Sequence

import jax
import numpy as np

from btw_jax import errors
from btw_jax import interventions
from btw_jax.data import scaling
from btw_jax.methods import adversarial
from btw_jax.methods import heuristic
from btw_jax.methods import mitigation
from btw_jax.pipeline import config as config_lib


def make(
  config: config_lib.Config,
  modalities: Sequence[str],
  scalers: Sequence[scaling.Scaler],
) -> mitigation.Mitigation | None:
  """What a run's multimodal models minimise besides their loss.

  Args:
    config: the run.
    modalities: names of the data set's.
    scalers: fitted on the training splits.

  Returns:
    The hook; None if nothing is to be mitigated.

  Raises:
    InputError: if a flag does not fit the others or the data.
  """
  asked = config.mitigation
  if not asked:
    return None
  agrees = "consistency" in asked
  names = config_lib.some_of("perturb", config.perturb, modalities)
  moved, views = [modalities.index(name) for name in names], []
  # What is to be consistent needs something to be consistent with.
  if "heuristic" in asked or asked == ("consistency",):
    views.append(_heuristic(config, scalers, moved))
  if "adversarial" in asked:
    views.append(_adversarial(config, moved))
  return mitigation.Mitigation(
    views,
    augmented=0.0 if asked == ("consistency",) else 1.0,
    consistency=config.consistency_weight if agrees else 0.0,
    divergence=config.consistency_kind,
  )


def feature_stats(
  scalers: Sequence[scaling.Scaler],
) -> interventions.FeatureStats:
  """What scaled features of training are like.

  Args:
    scalers: one per seed, or one for all.

  Returns:
    `[S, M, D]` each, or `[M, D]` if seeds share them.
  """
  each = [
    interventions.FeatureStats(
      mean=np.zeros_like(s.mean),
      # A constant feature says nothing, nor would noise in its place.
      std=(s.inverse_std > 0).astype(np.float32),
      zero=-s.mean * s.inverse_std,
    )
    for s in scalers
  ]
  if len(each) == 1:
    return each[0]
  return jax.tree.map(lambda *x: np.stack(x), *each)


def _heuristic(config, scalers, moved):
  shares = {k: getattr(config, f"{k}_share") for k in interventions.KINDS}
  shares = {kind: share for kind, share in shares.items() if share}
  if not shares:
    raise errors.InputError(
      f"--mitigation={','.join(config.mitigation)}: nothing to perturb with:"
      " set one of --noise_share, --mismatch_share, ... above 0."
    )
  return heuristic.Heuristic(
    tuple(shares),
    tuple(shares.values()),
    feature_stats(scalers),
    config.seeds,
    moved,
    config.num_copies,
  )


def _adversarial(config, moved):
  return adversarial.Adversarial(
    config.adversarial_radius,
    config.adversarial_rate,
    config.adversarial_steps,
    config.adversarial_by == "sign",
    moved,
  )
