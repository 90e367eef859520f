"""From a configuration to the hook that trains against interference."""

from collections.abc import Sequence

from btw_jax import interventions
from btw_jax import types
from btw_jax.data import scaling
from btw_jax.methods import adversarial
from btw_jax.methods import heuristic
from btw_jax.methods import mitigation
from btw_jax.training import inputs as inputs_lib
from experiments import config as config_lib


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


def _heuristic(config, scalers, moved):
  shares = {k: getattr(config, f"{k}_share") for k in interventions.KINDS}
  shares = {kind: share for kind, share in shares.items() if share}
  if not shares:
    raise types.InputError(
      f"--mitigation={','.join(config.mitigation)}: nothing to perturb with:"
      " set one of --noise_share, --mismatch_share, ... above 0."
    )
  return heuristic.Heuristic(
    tuple(shares),
    tuple(shares.values()),
    inputs_lib.usual(scalers),
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
