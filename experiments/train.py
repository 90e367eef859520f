"""Trains one model per modality, then the multimodal model, weighted.

  python -m experiments.train --flagfile=experiments/recipes/digits.flags

Prints a table and leaves its figures, weights, predictions and checkpoints in
the workdir.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import time
from typing import Any

from absl import logging
import jax.numpy as jnp
import numpy as np

from btw_jax.training import checkpoints
from btw_jax.training import hosts
from btw_jax.training import inputs as inputs_lib
from btw_jax.training import metrics_writer
from btw_jax.training import nulls
from btw_jax.training import runs
from btw_jax.training import selection
from btw_jax.training import snapshots
from btw_jax.training import stages
from btw_jax.training import state as state_lib
from experiments import cli
from experiments import cluster
from experiments import config as config_lib
from experiments import mitigations
from experiments import progress as progress_lib
from experiments import report
from experiments import scoring
from experiments import trainers as trainers_lib
from experiments import workdir as workdir_lib

# A modality whose outputs vary less than this over examples says nothing.
_CONSTANT = 1e-6
# A modality whose median p-value is not below this is reported.
_LEVEL = 0.05
# Steps of an epoch whose examples are named.
_SKIPPED_SHOWN = 3


@dataclasses.dataclass
class Study:
  """What the stages of a run share."""

  config: config_lib.Config
  inputs: inputs_lib.Inputs
  shape: trainers_lib.Shape
  trainers: trainers_lib.Trainers
  workdir: workdir_lib.Workdir
  progress: progress_lib.Progress
  interrupt: cli.Interrupt


def main() -> None:
  """Runs both stages and reports."""
  start = time.monotonic()
  cluster.join()
  study = prepare(config_lib.from_flags())
  unimodal = train_unimodal(study)
  splits = add_unimodal(study, unimodal)
  plan = plan_runs(study, splits)
  multimodal, chosen = train_multimodal(study, plan, splits)
  tested = test_information(study, multimodal, splits["valid"])
  finish(study, unimodal, multimodal, chosen, tested, start)


def prepare(config: config_lib.Config) -> Study:
  """Reads and checks everything before any training.

  Args:
    config: the run.

  Returns:
    What the stages share.
  """
  workdir_lib.refuse_another(config)
  inputs = inputs_lib.prepare(config.read_datasets(), config.how_to_read())
  shape = trainers_lib.Shape.of(inputs.dataset, len(inputs.scalers))
  strength = config_lib.number_or_auto(config.strength)
  plan = selection.plan(config.weighting, strength, 1.0)
  sizes = {s: len(e) for s, e in inputs.dataset.splits.items()}
  hook = mitigations.make(config, shape.modalities, inputs.scalers)
  trainers = trainers_lib.build(
    config, shape, plan.variants, sizes["train"], hook
  )
  for note in inputs.dataset.notes:
    logging.info("%s: %s", config.dataset, note)
  num_stages = 3 if config.embedding_scale == selection.AUTO else 2
  written = workdir_lib.Written(config, shape, sizes)
  return Study(
    config=config,
    inputs=inputs,
    shape=shape,
    trainers=trainers,
    workdir=workdir_lib.Workdir(written, trainers.task.unit),
    progress=progress_lib.Progress(num_stages * config.num_epochs),
    interrupt=cli.Interrupt(),
  )


def train_unimodal(study: Study) -> checkpoints.Unimodal:
  """Stage 1: one model per modality, frozen afterwards and saved.

  Args:
    study: the run.

  Returns:
    The models.
  """
  bare = {
    split: state_lib.Split(study.inputs.splits[split], None)
    for split in ("train", "valid")
  }
  plain = [runs.Choice("uniform", 0.0, 1.0)]
  best = _fit(study, "unimodal", study.trainers.unimodal, plain, bare)
  params = runs.slice_cell(best.params, 0)
  models = checkpoints.Unimodal(params, list(study.inputs.scalers))
  checkpoints.save(study.config.workdir, "unimodal", models)
  _stop_if_asked(study, "the unimodal checkpoint and metrics.csv are whole")
  return models


def add_unimodal(
  study: Study, unimodal: checkpoints.Unimodal
) -> dict[str, state_lib.Split]:
  """What the frozen models predict for train and validation, computed once.

  Args:
    study: the run.
    unimodal: stage 1.

  Returns:
    Split name -> split.
  """
  predict = stages.Predictor(study.trainers.unimodal)
  splits = {
    split: scoring.with_unimodal(
      predict, unimodal.params, study.inputs.splits[split]
    )
    for split in ("train", "valid")
  }
  outputs = np.asarray(splits["train"].unimodal)
  spread = np.ptp(outputs, axis=2).max(axis=(0, 2))
  for modality, varies in zip(
    study.shape.modalities, spread > _CONSTANT, strict=True
  ):
    if not varies:
      logging.warning(
        "modality %r predicts a constant: it tells nothing; leave it out with"
        " --modalities",
        modality,
      )
  return splits


def plan_runs(
  study: Study, splits: Mapping[str, state_lib.Split]
) -> selection.Plan:
  """The runs of stage 2, at the embedding scale given or tuned.

  Args:
    study: the run.
    splits: train and valid.

  Returns:
    The plan.
  """
  scale = config_lib.number_or_auto(study.config.embedding_scale)
  if scale == selection.AUTO:
    choices = [runs.Choice("uniform", 0.0, c) for c in selection.SCALES]
    trainer = dataclasses.replace(
      study.trainers.multimodal,
      rule=dataclasses.replace(
        study.trainers.multimodal.rule, variants=("uniform",)
      ),
    )
    best = _fit(study, "scale", trainer, choices, splits)
    _stop_if_asked(study, "no multimodal model was saved; metrics.csv is whole")
    losses = np.asarray(best.loss)[:, :, 0]
    scale = choices[selection.select(losses, range(len(choices)))].scale
    logging.info("embedding scale: %g, tuned on the uniform model", scale)
  strength = config_lib.number_or_auto(study.config.strength)
  return selection.plan(study.config.weighting, strength, scale)


def train_multimodal(
  study: Study, plan: selection.Plan, splits: Mapping[str, state_lib.Split]
) -> tuple[dict[str, checkpoints.Multimodal], dict[str, Any]]:
  """Stage 2: all runs as one program; each weighting keeps one and saves it.

  Args:
    study: the run.
    plan: what to train.
    splits: train and valid.

  Returns:
    Weighting -> its models, and weighting -> what to say of them.
  """
  trainer = study.trainers.multimodal
  best = _fit(study, "multimodal", trainer, plan.choices, splits)
  cells = runs.stack_cells(trainer.rule, plan.choices)
  losses = np.asarray(best.loss)[:, :, 0]
  models, chosen = {}, {}
  for name, candidates in plan.candidates.items():
    index = selection.select(losses, candidates)
    kept = runs.slice_cell((best.params, best.guide, cells), index)
    models[name] = checkpoints.Multimodal(*kept)
    chosen[name] = {
      "choice": plan.choices[index]._asdict(),
      "epoch": np.asarray(best.epoch)[index, :, 0].tolist(),
      "valid_loss": losses[index].tolist(),
    }
    checkpoints.save(study.config.workdir, name, models[name])
  _stop_if_asked(
    study,
    "the best epochs so far are saved: python -m experiments.evaluate"
    f" --workdir={study.config.workdir}",
  )
  return models, chosen


def test_information(
  study: Study,
  multimodal: Mapping[str, checkpoints.Multimodal],
  valid: state_lib.Split,
) -> dict[str, Any]:
  """Tests whether each modality tells more of the prediction than chance.

  On validation: of examples that both models were fitted to, even a modality
  of noise tells something, the labels that it has learned by heart.

  Args:
    study: the run.
    multimodal: weighting -> models; the first is tested, the plain one if it
      was trained.
    valid: the validation split.

  Returns:
    Modality -> name of a figure -> value per seed; empty if not asked for.
  """
  config = study.config
  if not config.num_permutations:
    return {}
  name, model = next(iter(multimodal.items()))
  outputs, _ = stages.Predictor(study.trainers.multimodal)(
    model.cell, model.params, model.guide, valid
  )
  tests = nulls.information_tests(
    study.trainers.task,
    valid.unimodal,
    jnp.asarray(outputs[:, 0]),
    valid.batch.present,
    config.seeds,
    num_permutations=config.num_permutations,
    transform=config.knn_transform,
  )
  tested = {}
  for m, modality in enumerate(study.shape.modalities):
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
  study: Study,
  unimodal: checkpoints.Unimodal,
  multimodal: Mapping[str, checkpoints.Multimodal],
  chosen: Mapping[str, Any],
  tested: Mapping[str, Any],
  start: float,
) -> None:
  """Evaluates on the test split, for the first time, and reports.

  Args:
    study: the run.
    unimodal: stage 1.
    multimodal: weighting -> stage 2.
    chosen: weighting -> what to say of it.
    tested: modality -> test of its information.
    start: when the program started, seconds.
  """
  study.progress.close()
  config, path = study.config, study.workdir.path
  scores = scoring.score(
    study.trainers,
    unimodal,
    multimodal,
    [dataset.splits["test"] for dataset in study.inputs.datasets],
    config.seeds,
    reading=config.how_to_read(),
    sentiment=config.sentiment,
  )
  results = {
    "dataset": config.dataset,
    "task": study.shape.task,
    "unit": study.trainers.task.unit,
    "modalities": list(study.shape.modalities),
    "sizes": {s: len(e) for s, e in study.inputs.dataset.splits.items()},
    "split": "test",
    "seeds": config.seeds,
    "mitigation": list(config.mitigation),
    "embedding_scale": next(iter(chosen.values()))["choice"]["scale"],
    "rows": [{**row, **chosen.get(row["name"], {})} for row in scores.rows],
    "information": tested,
    "seconds": round(time.monotonic() - start, 1),
  }
  write_predictions(path / "predictions.csv", scores, study.shape.modalities)
  metrics_writer.write_text(
    path / "results.md", report.tables(results, style="github") + "\n"
  )
  metrics_writer.write_json(path / "results.json", results)
  print(report.tables(results))
  print(f"\n{path}: {results['seconds']:.0f} s")


def write_predictions(
  path: Any, scores: scoring.Scores, modalities: Sequence[str]
) -> None:
  """Writes a row per weighting, seed and example.

  Args:
    path: of the CSV file.
    scores: what was evaluated.
    modalities: their names.
  """
  weights = [f"weight_{modality}" for modality in modalities]
  table = metrics_writer.TableWriter(
    path, (*scoring.PREDICTION_COLUMNS, *weights)
  )
  table.write(scores.predictions)


def _fit(
  study: Study, stage: str, trainer: Any, choices: Any, splits: Any
) -> state_lib.Best:
  """Trains, logging every epoch."""
  factor = np.broadcast_to(1.0, len(study.config.seeds))
  if study.trainers.task.unit == "mae":
    stds = [float(scaler.target_std) for scaler in study.inputs.scalers]
    factor = np.broadcast_to(stds, len(study.config.seeds))

  def observe(epoch: int, log: Mapping[str, np.ndarray]) -> None:
    study.workdir.log_epoch(stage, choices, epoch, log, factor)
    loss = np.mean(log["valid_loss"])
    study.progress.advance(f"{stage}, mean validation loss {loss:.3f}")

  def resumed(num_epochs: int, num_batches: int) -> None:
    study.workdir.rewind(stage, num_epochs)
    study.progress.skip(num_epochs)
    if num_batches:
      logging.info(
        "%s: going on after epoch %d and %d batches",
        stage,
        num_epochs,
        num_batches,
      )
    elif num_epochs:
      logging.info("%s: going on after epoch %d", stage, num_epochs)

  keep = snapshots.Snapshots(
    study.config.workdir,
    stage,
    scalers=study.inputs.scalers,
    about=config_lib.to_dict(study.config),
    seconds=study.config.snapshot_seconds,
    resume=study.config.resume,
  )
  stop: Callable[[], bool] = lambda: study.interrupt.requested  # noqa: E731
  return stages.fit(
    trainer,
    choices,
    study.config.seeds,
    splits["train"],
    splits["valid"],
    num_epochs=study.config.num_epochs,
    observe=observe,
    stop=stop,
    keep=keep,
    resumed=resumed,
    skipped=functools.partial(_tell_skipped, study, stage),
  )


def _tell_skipped(
  study: Study, stage: str, steps: Sequence[stages.Skipped]
) -> None:
  """Names the examples of the first steps that were skipped."""
  datasets = study.inputs.datasets
  for step in steps[:_SKIPPED_SHOWN]:
    ids = datasets[step.seed % len(datasets)].splits["train"].ids
    logging.warning(
      "%s, seed %d, epoch %d, step %d: the gradient is not finite, nothing is"
      " learned from examples %s",
      stage,
      study.config.seeds[step.seed],
      step.epoch + 1,
      step.step + 1,
      ", ".join(ids[step.examples]),
    )
  if len(steps) > _SKIPPED_SHOWN:
    logging.warning("and %d more steps", len(steps) - _SKIPPED_SHOWN)


def _stop_if_asked(study: Study, message: str) -> None:
  """Ends the program in every process if one of them was told to stop."""
  (asked,) = hosts.anywhere([study.interrupt.requested])
  if asked:
    study.progress.close()
    message += "; the same flags go on from here"
    raise cli.Interrupted(message, study.interrupt.number)


if __name__ == "__main__":
  config_lib.define_flags()
  cli.run(main, config_lib.groups() | cluster.GROUP)
