"""One stage of a run: training with its log and checkpoints."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import operator
import time
from typing import NamedTuple

from absl import logging
import jax
import numpy as np

from btw_jax import types
from btw_jax.data import fingerprints
from btw_jax.data import loading
from btw_jax.parallel import hosts
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import loop
from btw_jax.training import model_checkpoints
from btw_jax.training import predictor
from btw_jax.training import state as state_lib
from btw_jax.training import train_checkpoints
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import turns as turns_lib
from btw_jax.training import vectorized_runs

# Skipped steps of an epoch whose examples are logged.
_NUM_SKIPPED_LOGGED = 3
# The file of the turns that stages train in.
_TURNS = "turns.json"


@dataclasses.dataclass(frozen=True)
class Run:
  """The parts of a run that its stages share.

  Attributes:
    unimodal_fingerprint: of the models of stage 1, once these are trained;
      stage 2 builds on them.
    epoch_seconds: stage -> median time of an epoch, over all seeds of a
      setting, without the first epoch; filled while the stages train.
  """

  config: config_lib.RunConfig
  inputs: loading.Inputs
  shape: saved_config.DataShape
  trainers: build.Trainers
  workdir: workdir_lib.Workdir
  progress: progress_lib.Progress
  interrupt: interrupt_lib.Interrupt
  unimodal_fingerprint: str = ""
  epoch_seconds: dict[str, float] = dataclasses.field(default_factory=dict)


class Trained(NamedTuple):
  """The trained models of one setting.

  Attributes:
    spec: the setting.
    best: its best epoch, `[S, ...]`.
    models: the models, as they are saved.
  """

  spec: vectorized_runs.RunSpec
  best: state_lib.Best
  models: model_checkpoints.Multimodal


def train_unimodal(
  run: Run,
  stage: str,
  spec: vectorized_runs.RunSpec,
  splits: Mapping[str, types.Batch] | None = None,
) -> tuple[model_checkpoints.Unimodal, state_lib.Best]:
  """Trains stage 1, one model per modality.

  `splits` are the run's own by default. Returns the frozen models and their
  best epochs, `[S, U, ...]`.
  """
  batches = run.inputs.splits if splits is None else splits
  best = fit(
    run,
    stage,
    run.trainers.unimodal,
    [spec],
    {s: types.Split(batches[s], None) for s in ("train", "valid")},
  )
  best = vectorized_runs.select_setting(best, 0)
  models = model_checkpoints.Unimodal(best.params, list(run.inputs.scalers))
  return models, best


def add_unimodal(
  run: Run,
  unimodal: model_checkpoints.Unimodal,
  splits: Mapping[str, types.Batch],
) -> dict[str, types.Split]:
  """Computes the unimodal outputs of the train and valid splits, once."""
  predict = predictor.Predictor(run.trainers.unimodal)
  return {
    split: evaluation.with_unimodal(predict, unimodal.params, splits[split])
    for split in ("train", "valid")
  }


def fit_settings(
  run: Run,
  stage: str,
  trainer: trainer_lib.Trainer,
  specs: Sequence[vectorized_runs.RunSpec],
  splits: Mapping[str, types.Split],
) -> list[Trained]:
  """Trains settings of the multimodal model as one program."""
  best = fit(run, stage, trainer, specs, splits)
  run_params = vectorized_runs.stack_params(trainer.rule, specs)
  of_settings = [
    vectorized_runs.select_setting((best, run_params), index)
    for index in range(len(specs))
  ]
  return [
    Trained(
      spec,
      best,
      model_checkpoints.Multimodal(best.params, best.unseen_prior, run_params),
    )
    for spec, (best, run_params) in zip(specs, of_settings, strict=True)
  ]


def fit(
  run: Run,
  stage: str,
  trainer: trainer_lib.Trainer,
  specs: Sequence[vectorized_runs.RunSpec],
  splits: Mapping[str, types.Split],
) -> state_lib.Best:
  """Trains a stage, logs every epoch and saves training checkpoints.

  Runs that do not fit in memory side by side train in turns.
  """
  seeds = run.config.seeds
  turns = _plan(run, stage, trainer, specs, splits)
  num_epochs = run.config.num_epochs
  if specs[0].last_epoch is not None:
    num_epochs = 1 + max(max(spec.last_epoch) for spec in specs)
  # The name of a method stays as it is written.
  is_method = bool(specs[0].balance)
  name = stage if is_method else stage.replace("_", " ")
  results = []
  for number, turn in enumerate(turns):
    run.progress.begin(name, num_epochs, number, len(turns))
    results.append(
      _fit_turn(
        run,
        stage,
        trainer,
        _Turn(turn, specs[turn.settings], seeds[turn.seeds], len(turns) > 1),
        {name: turns_lib.select(part, turn) for name, part in splits.items()},
        num_epochs,
      )
    )
    if number + 1 < len(turns):
      stop_if_requested(run, "the snapshots are saved")
  return turns_lib.join(turns, results, (len(specs), len(seeds)))


def _plan(run, stage, trainer, specs, splits):
  """Plans the turns of a stage, or returns those that it began with.

  A run that goes on finds other memory free; what it has finished counts.
  """
  limit, shape = (
    run.config.devices.memory_gb,
    (len(specs), len(run.config.seeds)),
  )
  file = run.workdir.path / _TURNS
  planned = {}
  if file.exists() and run.config.resume:
    planned = files.read_json(file, "remove it; the run then plans anew")
  before = planned.get(stage, {})
  if before.get("memory_gb") == limit and before.get("shape") == [*shape]:
    return turns_lib.split(
      shape, lambda *n: all(map(operator.le, n, before["turn"]))
    )
  num_bytes = hosts.least(turns_lib.available(limit))
  turns, memory = turns_lib.plan(
    trainer,
    specs,
    run.config.seeds,
    splits["train"],
    splits["valid"],
    num_bytes,
  )
  size = turns_lib.largest(turns)
  if before and before["turn"] != [*size]:
    logging.info("%s: is planned anew, because --memory_gb has changed", stage)
  _log_turns(stage, shape, turns, memory, num_bytes)
  planned[stage] = {"memory_gb": limit, "shape": shape, "turn": size}
  files.write_json(file, planned)
  return turns


class _Turn(NamedTuple):
  """The runs of one turn: their positions, settings and seeds."""

  turn: turns_lib.Turn
  specs: Sequence[vectorized_runs.RunSpec]
  seeds: Sequence[int]
  is_part: bool

  def folder(self, stage):
    """Returns the name of the folder of its training checkpoints."""
    if not self.is_part:
      return stage
    settings = self.turn.settings
    return (
      f"{stage}_settings_{settings.start}_to_{settings.stop - 1}"
      f"_seeds_{self.seeds[0]}_to_{self.seeds[-1]}"
    )


def _fit_turn(run, stage, trainer, turn, splits, num_epochs):
  """Trains the runs of a turn."""
  factor = np.broadcast_to(1.0, len(run.config.seeds))
  if run.trainers.task.unit == "mae":
    stds = [float(scaler.target_std) for scaler in run.inputs.scalers]
    factor = np.broadcast_to(stds, len(run.config.seeds))
  factor = factor[turn.turn.seeds]
  ends = []

  def on_epoch(epoch, log):
    ends.append(_clock())
    run.workdir.log_epoch(stage, turn.specs, turn.seeds, epoch, log, factor)
    # A refit trains on the validation examples too.
    split = "train" if turn.specs[0].last_epoch else "valid"
    word = {"train": "training", "valid": "validation"}[split]
    loss = np.mean(log[f"{split}_loss"])
    run.progress.advance(f"mean {word} loss {loss:.3f}")

  best = loop.fit(
    trainer,
    turn.specs,
    turn.seeds,
    splits["train"],
    splits["valid"],
    num_epochs=num_epochs,
    callbacks=loop.Callbacks(
      on_epoch=on_epoch,
      on_resume=functools.partial(_resume, run, stage, turn),
      on_skipped=functools.partial(_log_skipped, run, stage, turn),
      should_stop=lambda: run.interrupt.requested,
    ),
    checkpoints=train_checkpoints.TrainCheckpoints(
      run.config.workdir,
      turn.folder(stage),
      scalers=run.inputs.scalers,
      about=run.workdir.about,
      inputs=fingerprints.of_arrays(
        [str(turn.specs), run.unimodal_fingerprint]
      ),
      seconds=run.config.snapshot_seconds,
      resume=run.config.resume,
    ),
  )
  if not turn.turn.seeds.start:
    _keep_seconds(run, stage, ends, turn)
  return best


def _log_turns(stage, shape, turns, memory, num_bytes):
  """Says that runs train in turns, and why."""
  if len(turns) == 1:
    return
  size = turns_lib.largest(turns)
  logging.info(
    "%s: %s side by side take %.2g GB, of %.2g GB that they may take: %d turns"
    " of %s, %.2g GB (see --memory_gb)",
    stage,
    _count(*shape),
    memory.needed(*shape) / 1e9,
    num_bytes / 1e9,
    len(turns),
    _count(*size),
    memory.needed(*size) / 1e9,
  )
  if memory.needed(*size) > num_bytes:
    logging.warning("%s: even one run takes more than that", stage)


def _count(num_settings, num_seeds):
  """Returns numbers of settings and seeds as words."""
  return " and ".join(
    f"{number} {noun}{'' if number == 1 else 's'}"
    for number, noun in ((num_settings, "setting"), (num_seeds, "seed"))
  )


def _keep_seconds(run, stage, ends, turn):
  """Keeps the median time of an epoch of one setting, over all seeds."""
  if len(ends) > 1:
    share = len(turn.seeds) / len(run.config.seeds) * len(turn.specs)
    seconds = float(np.median(np.diff(ends))) / share
    run.epoch_seconds[stage] = float(f"{seconds:.3g}")


def _clock():
  """Returns seconds; on CPU those that processors worked for this process.

  Other programs on a shared machine do not change them.
  """
  is_cpu = jax.default_backend() == "cpu"
  return time.process_time() if is_cpu else time.monotonic()


def _resume(run, stage, turn, num_epochs, num_batches):
  """Goes on after the epochs and batches that a training checkpoint holds."""
  run.workdir.rewind(stage, num_epochs, turn.specs, turn.seeds)
  run.progress.resume(num_epochs)
  if num_batches:
    logging.info(
      "%s: going on after epoch %d and %d batches",
      stage,
      num_epochs,
      num_batches,
    )
  elif num_epochs:
    logging.info("%s: going on after epoch %d", stage, num_epochs)


def _log_skipped(run, stage, turn, steps: Sequence[loop.SkippedStep]):
  """Logs the examples of the first steps that were skipped."""
  datasets = run.inputs.datasets
  for step in steps[:_NUM_SKIPPED_LOGGED]:
    position = turn.turn.seeds.start + step.seed
    ids = datasets[position % len(datasets)].splits["train"].ids
    logging.warning(
      "%s, seed %d, epoch %d, step %d: the gradient is not finite, nothing is"
      " learned from examples %s",
      stage,
      turn.seeds[step.seed],
      step.epoch + 1,
      step.step + 1,
      ", ".join(ids[step.examples]),
    )
  if len(steps) > _NUM_SKIPPED_LOGGED:
    logging.warning("and %d more steps", len(steps) - _NUM_SKIPPED_LOGGED)


def is_stopping(run: Run) -> bool:
  """Returns whether any process was asked to stop."""
  (requested,) = hosts.any_process([run.interrupt.requested])
  return requested


def stop_if_requested(run: Run, saved: str, command: str = "") -> None:
  """Ends the run in every process if one of them was asked to stop."""
  if is_stopping(run):
    where = run.progress.position
    message = f"{where}: {saved}; the same flags resume the run{command}"
    raise interrupt_lib.Interrupted(message, run.interrupt.number)
