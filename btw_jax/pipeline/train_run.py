"""One run: a model per modality, then the multimodal model, weighted."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import time
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.analysis import information_test
from btw_jax.data import loading
from btw_jax.parallel import hosts
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import mitigations
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline import results_table
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import loop
from btw_jax.training import model_checkpoints
from btw_jax.training import selection
from btw_jax.training import state as state_lib
from btw_jax.training import train_checkpoints
from btw_jax.training import vectorized_runs
from experiments import app

# A modality whose outputs vary less than this over examples says nothing.
_CONSTANT = 1e-6
# A modality whose median p-value is not below this is reported.
_LEVEL = 0.05
# Steps of an epoch whose examples are named.
_SKIPPED_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Run:
  """What the stages of a run share."""

  config: config_lib.Config
  inputs: loading.Inputs
  shape: build.Shape
  trainers: build.Trainers
  workdir: workdir_lib.Workdir
  progress: progress_lib.Progress
  interrupt: app.Interrupt


def train(
  config: config_lib.Config, interrupt: app.Interrupt | None = None
) -> dict[str, Any]:
  """Runs both stages, evaluates, and leaves everything in the workdir.

  Args:
    config: the run.
    interrupt: whether to stop where it can go on from; made when all is read
      if None.

  Returns:
    What `results.json` holds.

  Raises:
    InputError: if a flag or file is wrong.
    Interrupted: if asked to stop.
  """
  start = time.monotonic()
  run = prepare(config, interrupt)
  with contextlib.closing(run.workdir):
    unimodal = train_unimodal(run)
    splits = add_unimodal(run, unimodal)
    plan = plan_runs(run, splits)
    multimodal, chosen = train_multimodal(run, plan, splits)
  tested = test_information(run, multimodal, splits["valid"])
  return finish(run, unimodal, multimodal, chosen, tested, start)


def prepare(
  config: config_lib.Config, interrupt: app.Interrupt | None = None
) -> Run:
  """Reads and checks everything before any training.

  Args:
    config: the run.
    interrupt: whether to stop; made when all is read if None.

  Returns:
    What the stages share.
  """
  workdir_lib.check_same_config(config)
  inputs = loading.prepare(config.read_datasets(), config.how_to_read())
  shape = build.Shape.of(inputs.dataset, len(inputs.scalers))
  plan = selection.plan(config.weighting, config.strengths, 1.0)
  sizes = {s: len(e) for s, e in inputs.dataset.splits.items()}
  hook = mitigations.make(config, shape.modalities, inputs.scalers)
  trainers = build.build(config, shape, plan.variants, sizes["train"], hook)
  for note in inputs.dataset.notes:
    logging.info("%s: %s", config.dataset, note)
  num_stages = 3 if len(config.scales) > 1 else 2
  written = workdir_lib.SavedConfig(config, shape, sizes)
  return Run(
    config=config,
    inputs=inputs,
    shape=shape,
    trainers=trainers,
    workdir=workdir_lib.Workdir(written, trainers.task.unit),
    progress=progress_lib.Progress(num_stages * config.num_epochs),
    interrupt=interrupt or app.Interrupt(),
  )


def train_unimodal(run: Run) -> model_checkpoints.Unimodal:
  """Stage 1: one model per modality, frozen afterwards and saved.

  Args:
    run: what its stages share.

  Returns:
    The models.
  """
  bare = {
    split: types.Split(run.inputs.splits[split], None)
    for split in ("train", "valid")
  }
  plain = [vectorized_runs.RunSpec("uniform", 0.0, 1.0)]
  best = _fit(run, "unimodal", run.trainers.unimodal, plain, bare)
  params = vectorized_runs.select_run(best.params, 0)
  models = model_checkpoints.Unimodal(params, list(run.inputs.scalers))
  model_checkpoints.save(run.config.workdir, "unimodal", models)
  _stop_if_asked(run, "the unimodal checkpoint and metrics.csv are whole")
  return models


def add_unimodal(
  run: Run, unimodal: model_checkpoints.Unimodal
) -> dict[str, types.Split]:
  """What the frozen models predict for train and validation, computed once.

  Args:
    run: what its stages share.
    unimodal: stage 1.

  Returns:
    Split name -> split.
  """
  predict = loop.Predictor(run.trainers.unimodal)
  splits = {
    split: evaluation.with_unimodal(
      predict, unimodal.params, run.inputs.splits[split]
    )
    for split in ("train", "valid")
  }
  outputs = np.asarray(splits["train"].unimodal)
  spread = np.ptp(outputs, axis=2).max(axis=(0, 2))
  for modality, varies in zip(
    run.shape.modalities, spread > _CONSTANT, strict=True
  ):
    if not varies:
      logging.warning(
        "modality %r predicts a constant: it tells nothing; leave it out with"
        " --modalities",
        modality,
      )
  return splits


def plan_runs(run: Run, splits: Mapping[str, types.Split]) -> selection.Plan:
  """The runs of stage 2, at the embedding scale given or tuned.

  Args:
    run: what its stages share.
    splits: train and valid.

  Returns:
    The plan.
  """
  scale, *others = scales = run.config.scales
  if others:
    choices = [vectorized_runs.RunSpec("uniform", 0.0, c) for c in scales]
    trainer = dataclasses.replace(
      run.trainers.multimodal,
      rule=dataclasses.replace(
        run.trainers.multimodal.rule, variants=("uniform",)
      ),
    )
    best = _fit(run, "scale", trainer, choices, splits)
    _stop_if_asked(run, "no multimodal model was saved; metrics.csv is whole")
    losses = np.asarray(best.loss)[:, :, 0]
    scale = choices[selection.select(losses, range(len(choices)))].scale
    logging.info("embedding scale: %g, tuned on the uniform model", scale)
  return selection.plan(run.config.weighting, run.config.strengths, scale)


def train_multimodal(
  run: Run, plan: selection.Plan, splits: Mapping[str, types.Split]
) -> tuple[dict[str, model_checkpoints.Multimodal], dict[str, Any]]:
  """Stage 2: all runs as one program; each weighting keeps one and saves it.

  Args:
    run: what its stages share.
    plan: what to train.
    splits: train and valid.

  Returns:
    Weighting -> its models, and weighting -> what to say of them.
  """
  trainer = run.trainers.multimodal
  best = _fit(run, "multimodal", trainer, plan.choices, splits)
  cells = vectorized_runs.stack_params(trainer.rule, plan.choices)
  losses = np.asarray(best.loss)[:, :, 0]
  models, chosen = {}, {}
  for name, candidates in plan.candidates.items():
    index = selection.select(losses, candidates)
    kept = vectorized_runs.select_run((best.params, best.guide, cells), index)
    models[name] = model_checkpoints.Multimodal(*kept)
    chosen[name] = {
      "choice": plan.choices[index]._asdict(),
      "candidates": len(candidates),
      "epoch": np.asarray(best.epoch)[index, :, 0].tolist(),
      "valid_loss": losses[index].tolist(),
    }
    model_checkpoints.save(run.config.workdir, name, models[name])
  _stop_if_asked(
    run,
    "the best epochs so far are saved: python -m experiments.evaluate"
    f" --workdir={run.config.workdir}",
  )
  return models, chosen


def test_information(
  run: Run,
  multimodal: Mapping[str, model_checkpoints.Multimodal],
  valid: types.Split,
) -> dict[str, Any]:
  """Tests whether each modality tells more of the prediction than chance.

  On validation: of examples that both models were fitted to, even a modality
  of noise tells something, the labels that it has learned by heart.

  Args:
    run: what its stages share.
    multimodal: weighting -> models; the first is tested, the plain one if it
      was trained.
    valid: the validation split.

  Returns:
    Modality -> name of a figure -> value per seed; empty if not asked for.
  """
  config = run.config
  if not config.num_permutations:
    return {}
  name, model = next(iter(multimodal.items()))
  outputs, _ = loop.Predictor(run.trainers.multimodal)(
    model.cell, model.params, model.guide, valid
  )
  tests = information_test.information_tests(
    run.trainers.task,
    valid.unimodal,
    jnp.asarray(outputs[:, 0]),
    valid.batch.present,
    config.seeds,
    num_permutations=config.num_permutations,
    transform=config.knn_transform,
  )
  tested = {}
  for m, modality in enumerate(run.shape.modalities):
    of_seeds = [np.asarray(figure)[:, m] for figure in tests]
    value, null_mean, null_std = (v.mean() for v in of_seeds[:3])
    p_value = np.median(of_seeds[3])
    logging.info(
      "modality %r: %.3f nats about the %s prediction on validation,"
      " %.3f ± %.3f by chance, median p = %.3f: %s",
      modality,
      value,
      name,
      null_mean,
      null_std,
      p_value,
      "above its null" if p_value < _LEVEL else "NOT above its null",
    )
    figures = zip(tests._fields, of_seeds, strict=True)
    tested[modality] = {field: v.tolist() for field, v in figures}
  return tested


def finish(
  run: Run,
  unimodal: model_checkpoints.Unimodal,
  multimodal: Mapping[str, model_checkpoints.Multimodal],
  chosen: Mapping[str, Any],
  tested: Mapping[str, Any],
  start: float,
) -> dict[str, Any]:
  """Evaluates on the test split, for the first time, and writes.

  Args:
    run: what its stages share.
    unimodal: stage 1.
    multimodal: weighting -> stage 2.
    chosen: weighting -> what to say of it.
    tested: modality -> test of its information.
    start: when the run started, seconds.

  Returns:
    What `results.json` holds.
  """
  run.progress.close()
  config, path = run.config, run.workdir.path
  scores = evaluation.score(
    run.trainers,
    unimodal,
    multimodal,
    [dataset.splits["test"] for dataset in run.inputs.datasets],
    config.seeds,
    reading=config.how_to_read(),
    sentiment=config.sentiment,
  )
  results = {
    "dataset": config.dataset,
    "task": run.shape.task,
    "unit": run.trainers.task.unit,
    "modalities": list(run.shape.modalities),
    "sizes": {s: len(e) for s, e in run.inputs.dataset.splits.items()},
    "split": "test",
    "seeds": config.seeds,
    "mitigation": list(config.mitigation),
    "embedding_scale": next(iter(chosen.values()))["choice"]["scale"],
    "rows": [{**row, **chosen.get(row["name"], {})} for row in scores.rows],
    "information": tested,
    "num_parameters": {
      stage: _num_parameters(params, len(config.seeds))
      for stage, params in (
        ("unimodal", unimodal.params),
        ("multimodal", next(iter(multimodal.values())).params),
      )
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
  """Of the models of one seed."""
  return sum(leaf.size for leaf in jax.tree.leaves(params)) // num_seeds


def _fit(
  run: Run, stage: str, trainer: Any, choices: Any, splits: Any
) -> state_lib.Best:
  """Trains, logging every epoch."""
  factor = np.broadcast_to(1.0, len(run.config.seeds))
  if run.trainers.task.unit == "mae":
    stds = [float(scaler.target_std) for scaler in run.inputs.scalers]
    factor = np.broadcast_to(stds, len(run.config.seeds))

  def observe(epoch: int, log: Mapping[str, np.ndarray]) -> None:
    run.workdir.log_epoch(stage, choices, epoch, log, factor)
    loss = np.mean(log["valid_loss"])
    run.progress.advance(f"{stage}, mean validation loss {loss:.3f}")

  def resumed(num_epochs: int, num_batches: int) -> None:
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

  keep = train_checkpoints.TrainCheckpoints(
    run.config.workdir,
    stage,
    scalers=run.inputs.scalers,
    about=config_lib.to_dict(run.config),
    seconds=run.config.snapshot_seconds,
    resume=run.config.resume,
  )
  stop: Callable[[], bool] = lambda: run.interrupt.requested  # noqa: E731
  return loop.fit(
    trainer,
    choices,
    run.config.seeds,
    splits["train"],
    splits["valid"],
    num_epochs=run.config.num_epochs,
    observe=observe,
    stop=stop,
    keep=keep,
    resumed=resumed,
    skipped=functools.partial(_tell_skipped, run, stage),
  )


def _tell_skipped(run: Run, stage: str, steps: Sequence[loop.Skipped]) -> None:
  """Names the examples of the first steps that were skipped."""
  datasets = run.inputs.datasets
  for step in steps[:_SKIPPED_SHOWN]:
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
  if len(steps) > _SKIPPED_SHOWN:
    logging.warning("and %d more steps", len(steps) - _SKIPPED_SHOWN)


def _stop_if_asked(run: Run, message: str) -> None:
  """Ends the program in every process if one of them was told to stop."""
  (asked,) = hosts.any_process([run.interrupt.requested])
  if asked:
    run.progress.close()
    message += "; the same flags go on from here"
    raise app.Interrupted(message, run.interrupt.number)
