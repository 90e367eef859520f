"""The training against modality interference that a configuration asks for."""

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


def make_hook(
  config: config_lib.RunConfig,
  modalities: Sequence[str],
  scalers: Sequence[scaling.Scaler],
) -> mitigation.Mitigation | None:
  """Makes the hook that adds to the loss of the multimodal models.

  Args:
    config: the run.
    modalities: names of the data set's modalities.
    scalers: fitted on the training splits.

  Returns:
    The hook; None without mitigation.

  Raises:
    InputError: if a setting does not fit the others or the data.
  """
  settings = config.mitigation
  methods = settings.methods
  if not methods:
    return None
  names = errors.check_names("perturb", settings.perturb, modalities)
  positions, views = [modalities.index(name) for name in names], []
  # Consistency alone compares with heuristic copies, whose loss is left out.
  only_consistency = methods == ("consistency",)
  if "heuristic" in methods or only_consistency:
    views.append(_heuristic(settings, config.seeds, scalers, positions))
  if "adversarial" in methods:
    views.append(_adversarial(settings, positions))
  return mitigation.Mitigation(
    views,
    augmented=0.0 if only_consistency else 1.0,
    consistency=(
      settings.consistency_weight if "consistency" in methods else 0.0
    ),
    divergence=settings.consistency_kind,
  )


def feature_stats(
  scalers: Sequence[scaling.Scaler],
) -> interventions.FeatureStats:
  """Returns the statistics of scaled training features.

  They are `[S, M, D]` with a scaler per seed, and `[M, D]` with one for all.
  """
  stats = [
    interventions.FeatureStats(
      mean=np.zeros(np.shape(s.mean), np.float32),
      # A constant feature informs of nothing, nor would noise in its place.
      std=(s.inverse_std > 0).astype(np.float32),
      zero=(-s.mean * s.inverse_std).astype(np.float32),
    )
    for s in scalers
  ]
  if len(stats) == 1:
    return stats[0]
  return jax.tree.map(lambda *x: np.stack(x), *stats)


def _heuristic(settings, seeds, scalers, positions):
  shares = {
    "noise": settings.noise_share,
    "zero": settings.zero_share,
    "mean": settings.mean_share,
    "shuffle": settings.shuffle_share,
    "mismatch": settings.mismatch_share,
    "missing": settings.missing_share,
  }
  shares = {kind: share for kind, share in shares.items() if share}
  if not shares:
    raise errors.InputError(
      f"--mitigation={','.join(settings.methods)}: nothing to perturb with:"
      " set one of --noise_share, --mismatch_share, ... above 0."
    )
  return heuristic.Heuristic(
    tuple(shares),
    tuple(shares.values()),
    feature_stats(scalers),
    seeds,
    positions,
    settings.num_copies,
  )


def _adversarial(settings, positions):
  return adversarial.Adversarial(
    settings.adversarial_radius,
    settings.adversarial_rate,
    settings.adversarial_steps,
    settings.adversarial_by == "sign",
    positions,
  )
