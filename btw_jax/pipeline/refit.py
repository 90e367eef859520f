"""The chosen settings trained once more, on training and validation examples.

With few examples, those held out to choose epochs and settings are a large
share of all. Once the choice is made, they can be trained on too.
"""

from collections.abc import Mapping
import dataclasses

import jax
import numpy as np

from btw_jax import types
from btw_jax.pipeline import balancing
from btw_jax.pipeline import restore
from btw_jax.pipeline import stages
from btw_jax.training import model_checkpoints
from btw_jax.training import selection
from btw_jax.training import state as state_lib
from btw_jax.training import vectorized_runs


def refit(
  run: stages.Run,
  models: restore.Models,
  unimodal_best: state_lib.Best,
  kept: Mapping[str, stages.Trained],
) -> restore.Models:
  """Trains both stages again, each model for its best number of epochs.

  All seeds train for the median of their best epochs. The moving average of
  the weights still follows the loss of the validation examples, although these
  are trained on. The models replace those saved before.

  Args:
    run: the run, with its data in memory.
    models: those of the first training.
    unimodal_best: `[S, U, ...]` the best epochs of the unimodal models.
    kept: weighting -> the setting that it chose, trained.

  Returns:
    The new models.
  """
  batches = dict(run.inputs.splits)
  batches["train"] = _concatenate(batches["train"], batches["valid"])
  plain = vectorized_runs.RunSpec("uniform", 0.0, 1.0)
  unimodal, _ = stages.train_unimodal(
    run, "refit_unimodal", _stop_at(plain, unimodal_best), batches
  )
  _stop_if_requested(run)
  splits = stages.add_unimodal(run, unimodal, batches)
  multimodal = dict.fromkeys(models.multimodal)
  for stage, of_stage in _by_stage(kept).items():
    specs = {name: _stop_at(t.spec, t.best) for name, t in of_stage.items()}
    if not specs:
      run.progress.skip_stage()
      continue
    distinct = list(dict.fromkeys(specs.values()))
    trainer = _trainer(run, stage, distinct, unimodal)
    trained = stages.fit_settings(
      run, f"refit_{stage}", trainer, distinct, splits
    )
    _stop_if_requested(run)
    for name, spec in specs.items():
      multimodal[name] = trained[distinct.index(spec)].models
  model_checkpoints.save(run.config.workdir, "unimodal", unimodal)
  for name, of_name in multimodal.items():
    model_checkpoints.save(run.config.workdir, name, of_name)
  return dataclasses.replace(models, unimodal=unimodal, multimodal=multimodal)


def _by_stage(kept):
  """Returns stage -> name -> the setting to train again, in order."""
  by_stage = {"multimodal": {}}
  by_stage |= {t.spec.balance: {} for t in kept.values() if t.spec.balance}
  if any(name in selection.GATED for name in kept):
    by_stage["gate"] = {}
  for name, trained in kept.items():
    is_gated = trained.spec.is_open is not None
    stage = "gate" if is_gated else trained.spec.balance or "multimodal"
    by_stage[stage][name] = trained
  return by_stage


def _trainer(run, stage, specs, unimodal):
  """Returns the trainer of a stage."""
  if stage == "multimodal":
    return run.trainers.multimodal
  if stage == "gate":
    return run.trainers.unweighted
  return balancing.trainer(run.trainers, stage, specs, run.config, unimodal)


def _stop_at(spec, best):
  """Returns a setting that keeps the median of the best epochs `[S, U]`."""
  epochs = np.median(np.maximum(best.epoch, 0), axis=0).astype(int)
  return spec._replace(last_epoch=tuple(epochs.tolist()))


def _concatenate(train: types.Batch, valid: types.Batch) -> types.Batch:
  axis = train.present.ndim - 2
  return jax.tree.map(lambda *x: np.concatenate(x, axis), train, valid)


def _stop_if_requested(run):
  stages.stop_if_requested(run, "metrics.csv is complete, no model is saved")
