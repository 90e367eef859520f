"""One run: a model per modality, then the multimodal models, weighted."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from btw_jax import types
from btw_jax.data import loading
from btw_jax.parallel import hosts
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import mitigations
from btw_jax.pipeline import modality_tests
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline import restore
from btw_jax.pipeline import results_table
from btw_jax.pipeline import run_data
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import loop
from btw_jax.training import model_checkpoints
from btw_jax.training import predictor
from btw_jax.training import selection
from btw_jax.training import state as state_lib
from btw_jax.training import train_checkpoints
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs

# Skipped steps of an epoch whose examples are logged.
_NUM_SKIPPED_LOGGED = 3


@dataclasses.dataclass(frozen=True)
class Run:
  """The parts of a run that its stages share."""

  config: config_lib.RunConfig
  inputs: loading.Inputs
  shape: workdir_lib.DataShape
  trainers: build.Trainers
  workdir: workdir_lib.Workdir
  progress: progress_lib.Progress
  interrupt: interrupt_lib.Interrupt


def train(
  config: config_lib.RunConfig,
  interrupt: interrupt_lib.Interrupt | None = None,
) -> dict[str, Any]:
  """Trains both stages, evaluates, and leaves all files in the workdir.

  Args:
    config: the run.
    interrupt: requests to stop; listens from the start of training by default.

  Returns:
    The content of `results.json`.

  Raises:
    InputError: if a setting or a file is wrong.
    Interrupted: if the run stopped as requested.
  """
  start = time.monotonic()
  run = prepare(config, interrupt)
  with contextlib.closing(run.workdir):
    unimodal = train_unimodal(run)
    splits = add_unimodal(run, unimodal)
    plan = plan_settings(run, splits)
    multimodal, chosen = train_multimodal(run, plan, splits)
  models = restore.Models(run.trainers, unimodal, multimodal)
  information = modality_tests.test_information(
    models, splits["valid"], config, run.shape.modalities
  )
  return finish(run, models, chosen, information, start)


def prepare(
  config: config_lib.RunConfig,
  interrupt: interrupt_lib.Interrupt | None = None,
) -> Run:
  """Reads and checks everything before any training."""
  workdir_lib.check_same_config(config)
  inputs = loading.prepare(run_data.read(config), run_data.reading(config))
  shape = workdir_lib.DataShape.from_dataset(
    inputs.dataset, len(inputs.scalers)
  )
  weighting = config.weighting
  plan = selection.plan(weighting.names, weighting.strengths, 1.0)
  sizes = {s: len(e) for s, e in inputs.dataset.splits.items()}
  hook = mitigations.make_hook(config, shape.modalities, inputs.scalers)
  trainers = build.build_trainers(
    config, shape, plan.variants, sizes["train"], hook
  )
  for note in inputs.dataset.notes:
    logging.info("%s: %s", config.data.dataset, note)
  num_stages = 3 if len(weighting.scales) > 1 else 2
  saved = workdir_lib.SavedConfig(config, shape, sizes)
  return Run(
    config=config,
    inputs=inputs,
    shape=shape,
    trainers=trainers,
    workdir=workdir_lib.Workdir(saved, trainers.task.unit),
    progress=progress_lib.Progress(num_stages * config.num_epochs),
    interrupt=interrupt or interrupt_lib.Interrupt(),
  )


def train_unimodal(run: Run) -> model_checkpoints.Unimodal:
  """Trains stage 1, one model per modality, and saves the frozen models."""
  splits = {
    split: types.Split(run.inputs.splits[split], None)
    for split in ("train", "valid")
  }
  plain = [vectorized_runs.RunSpec("uniform", 0.0, 1.0)]
  best = _fit(run, "unimodal", run.trainers.unimodal, plain, splits)
  params = vectorized_runs.select_setting(best.params, 0)
  models = model_checkpoints.Unimodal(params, list(run.inputs.scalers))
  model_checkpoints.save(run.config.workdir, "unimodal", models)
  _stop_if_requested(
    run, "the unimodal checkpoint and metrics.csv are complete"
  )
  return models


def add_unimodal(
  run: Run, unimodal: model_checkpoints.Unimodal
) -> dict[str, types.Split]:
  """Computes the unimodal outputs of the train and valid splits, once."""
  predict = predictor.Predictor(run.trainers.unimodal)
  splits = {
    split: evaluation.with_unimodal(
      predict, unimodal.params, run.inputs.splits[split]
    )
    for split in ("train", "valid")
  }
  modality_tests.warn_of_constants(splits["train"], run.shape.modalities)
  return splits


def plan_settings(
  run: Run, splits: Mapping[str, types.Split]
) -> selection.Plan:
  """Plans the settings of stage 2, at the embedding scale given or tuned."""
  weighting = run.config.weighting
  scale, *others = scales = weighting.scales
  if others:
    specs = [vectorized_runs.RunSpec("uniform", 0.0, c) for c in scales]
    trainer = run.trainers.multimodal
    rule = dataclasses.replace(trainer.rule, variants=("uniform",))
    trainer = dataclasses.replace(trainer, rule=rule)
    best = _fit(run, "scale", trainer, specs, splits)
    _stop_if_requested(
      run, "no multimodal model was saved; metrics.csv is complete"
    )
    losses = np.asarray(best.loss)[:, :, 0]
    scale = specs[selection.select(losses, range(len(specs)))].scale
    logging.info("embedding scale: %g, tuned on the uniform model", scale)
  return selection.plan(weighting.names, weighting.strengths, scale)


def train_multimodal(
  run: Run, plan: selection.Plan, splits: Mapping[str, types.Split]
) -> tuple[dict[str, model_checkpoints.Multimodal], dict[str, Any]]:
  """Trains stage 2: all settings as one program; saves one per weighting.

  Returns weighting -> its models, and weighting -> which setting it chose.
  """
  trainer = run.trainers.multimodal
  best = _fit(run, "multimodal", trainer, plan.specs, splits)
  run_params = vectorized_runs.stack_params(trainer.rule, plan.specs)
  losses = np.asarray(best.loss)[:, :, 0]
  models, chosen = {}, {}
  for name, candidates in plan.candidates.items():
    index = selection.select(losses, candidates)
    models[name] = model_checkpoints.Multimodal(
      *vectorized_runs.select_setting(
        (best.params, best.unseen_prior, run_params), index
      )
    )
    chosen[name] = {
      "choice": plan.specs[index]._asdict(),
      "candidates": len(candidates),
      "epoch": np.asarray(best.epoch)[index, :, 0].tolist(),
      "valid_loss": losses[index].tolist(),
    }
    model_checkpoints.save(run.config.workdir, name, models[name])
  _stop_if_requested(
    run,
    "the best epochs so far are saved",
    "; to evaluate it now: python -m experiments.evaluate"
    f" --workdir={run.config.workdir}",
  )
  return models, chosen


def finish(
  run: Run,
  models: restore.Models,
  chosen: Mapping[str, Any],
  information: Mapping[str, Any],
  start: float,
) -> dict[str, Any]:
  """Evaluates on the test split, for the first time, and writes the results.

  `chosen` maps a weighting to the setting it chose, `information` a modality to
  the test of its information; the run started at `start` seconds. Returns the
  content of `results.json`.
  """
  run.progress.close()
  config, path = run.config, run.workdir.path
  scores = evaluation.score(
    models,
    [dataset.splits["test"] for dataset in run.inputs.datasets],
    config.seeds,
    reading=run_data.reading(config),
    sentiment=config.data.sentiment,
  )
  multimodal = next(iter(models.multimodal.values()))
  results = {
    "dataset": config.data.dataset,
    "task": run.shape.task,
    "unit": run.trainers.task.unit,
    "modalities": list(run.shape.modalities),
    "sizes": {s: len(e) for s, e in run.inputs.dataset.splits.items()},
    "split": "test",
    "seeds": config.seeds,
    "mitigation": list(config.mitigation.methods),
    "embedding_scale": next(iter(chosen.values()))["choice"]["scale"],
    "rows": [{**row, **chosen.get(row["name"], {})} for row in scores.rows],
    "information": information,
    "num_parameters": {
      "unimodal": _num_parameters(models.unimodal.params, config.num_seeds),
      "multimodal": _num_parameters(multimodal.params, config.num_seeds),
    },
    "seconds": round(time.monotonic() - start, 1),
  }
  evaluation.write_predictions(
    path / "predictions.csv", scores, run.shape.modalities
  )
  files.write_text(
    path / "results.md", results_table.tables(results, style="github") + "\n"
  )
  files.write_json(path / "results.json", results)
  return results


def _num_parameters(params, num_seeds):
  """Returns the number of parameters of one seed."""
  return sum(leaf.size for leaf in jax.tree.leaves(params)) // num_seeds


def _fit(
  run: Run,
  stage: str,
  trainer: trainer_lib.Trainer,
  specs: Sequence[vectorized_runs.RunSpec],
  splits: Mapping[str, types.Split],
) -> state_lib.Best:
  """Trains a stage, logs every epoch and saves training checkpoints."""
  factor = np.broadcast_to(1.0, len(run.config.seeds))
  if run.trainers.task.unit == "mae":
    stds = [float(scaler.target_std) for scaler in run.inputs.scalers]
    factor = np.broadcast_to(stds, len(run.config.seeds))

  def on_epoch(epoch, log):
    run.workdir.log_epoch(stage, specs, epoch, log, factor)
    loss = np.mean(log["valid_loss"])
    run.progress.advance(f"{stage}, mean validation loss {loss:.3f}")

  def on_resume(num_epochs, num_batches):
    run.workdir.rewind(stage, num_epochs)
    run.progress.skip(num_epochs)
    if num_batches:
      logging.info(
        "%s: going on after epoch %d and %d batches",
        stage,
        num_epochs,
        num_batches,
      )
    elif num_epochs:
      logging.info("%s: going on after epoch %d", stage, num_epochs)

  return loop.fit(
    trainer,
    specs,
    run.config.seeds,
    splits["train"],
    splits["valid"],
    num_epochs=run.config.num_epochs,
    callbacks=loop.Callbacks(
      on_epoch=on_epoch,
      on_resume=on_resume,
      on_skipped=functools.partial(_log_skipped, run, stage),
      should_stop=lambda: run.interrupt.requested,
    ),
    checkpoints=train_checkpoints.TrainCheckpoints(
      run.config.workdir,
      stage,
      scalers=run.inputs.scalers,
      about=config_lib.to_dict(run.config),
      seconds=run.config.snapshot_seconds,
      resume=run.config.resume,
    ),
  )


def _log_skipped(run, stage, steps: Sequence[loop.SkippedStep]):
  """Logs the examples of the first steps that were skipped."""
  datasets = run.inputs.datasets
  for step in steps[:_NUM_SKIPPED_LOGGED]:
    ids = datasets[step.seed % len(datasets)].splits["train"].ids
    logging.warning(
      "%s, seed %d, epoch %d, step %d: the gradient is not finite, nothing is"
      " learned from examples %s",
      stage,
      run.config.seeds[step.seed],
      step.epoch + 1,
      step.step + 1,
      ", ".join(ids[step.examples]),
    )
  if len(steps) > _NUM_SKIPPED_LOGGED:
    logging.warning("and %d more steps", len(steps) - _NUM_SKIPPED_LOGGED)


def _stop_if_requested(run, saved, command=""):
  """Ends the run in every process if one of them was asked to stop."""
  (requested,) = hosts.any_process([run.interrupt.requested])
  if requested:
    run.progress.close()
    message = f"{saved}; the same flags resume the run{command}"
    raise interrupt_lib.Interrupted(message, run.interrupt.number)
