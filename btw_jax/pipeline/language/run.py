"""A run of the language model: trained, tested, and loaded again."""

from collections.abc import Mapping
import contextlib
import dataclasses
import datetime
import os
import pathlib
import time
from typing import Any

from absl import logging
import chex
import jax
import numpy as np

from btw_jax import errors
from btw_jax import types
from btw_jax.data import fingerprints
from btw_jax.data.questions import question_set
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline.language import answers
from btw_jax.pipeline.language import config as config_lib
from btw_jax.pipeline.language import setup as setup_lib
from btw_jax.pipeline.language import tables
from btw_jax.reports import tables as tables_lib
from btw_jax.training import loop
from btw_jax.training import model_checkpoints
from btw_jax.training import state as state_lib
from btw_jax.training import train_checkpoints
from btw_jax.training import vectorized_runs

_CONFIG, _RESULTS, _STAGE = "config.json", "results.json", "language"
# The plain model: no modality is weighed.
_SPEC = vectorized_runs.RunSpec("uniform", 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """The models of a run.

  Attributes:
    setup: the configuration, the world and the trainer.
    params: `[S, ...]`, the best epoch of every seed.
  """

  setup: setup_lib.Setup
  params: chex.ArrayTree

  def log_probs(
    self, questions: question_set.QuestionSet, **settings: Any
  ) -> np.ndarray:
    """Answers questions; see `answers.log_probs`."""
    network = self.setup.trainer.network
    return answers.log_probs(network, self.params, questions, **settings)

  def statistics(self, questions: question_set.QuestionSet):
    """Returns the statistics of embeddings; see `answers.statistics`."""
    return answers.statistics(
      self.setup.trainer.network, self.params, questions
    )


def train(config: config_lib.LanguageConfig) -> dict[str, Any]:
  """Trains the models of all seeds, tests them, and leaves all files.

  A run that is finished is not trained again.

  Returns:
    The content of `results.json`.

  Raises:
    InputError: if a setting or a file is wrong.
    Interrupted: if the run stopped as requested.
  """
  start = time.monotonic()
  # From the start: JAX swallows a KeyboardInterrupt in one of its callbacks.
  interrupt = interrupt_lib.Interrupt()
  folder = pathlib.Path(config.workdir)
  _check_same_config(folder, config)
  if config.resume and (folder / _RESULTS).exists():
    logging.info(
      "%s: the run is finished, nothing is trained; --noresume trains it anew",
      folder,
    )
    return files.read_json(
      folder / _RESULTS, "remove it, and start the run again"
    )
  setup = _start_from(setup_lib.make(config))
  splits = {split: setup.questions(split) for split in ("train", "valid")}
  folders.check_plain("workdir", config.workdir)
  folder = folders.make("workdir", config.workdir)
  progress = progress_lib.Progress(1, config.num_epochs)
  with folders.Lock("workdir", folder), contextlib.closing(progress):
    files.remove([folder / _RESULTS])
    files.write_json(folder / _CONFIG, {"language": config_lib.to_dict(config)})
    best = _fit(setup, splits, progress, interrupt)
    if interrupt.requested:
      raise interrupt_lib.Interrupted(
        f"{progress.position}: the models so far and metrics.csv are saved; the"
        " same flags resume the run",
        interrupt.number,
      )
    best = vectorized_runs.select_setting(best, 0)
    save(config.workdir, setup, best.params)
    progress.do("testing")
    run = FinishedRun(setup, best.params)
    scores = {
      "validation": accuracies(run, splits["valid"]),
      "test": accuracies(run, setup.questions("test")),
    }
    results = {
      "note": _describe(config),
      "rows": tables.accuracies(scores),
      "dataset": "questions",
      "audio": config.audio,
      "seeds": config.seeds,
      "mitigation": list(config.mitigation),
      "balance": config.balance,
      "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(best.params))
      // config.num_seeds,
      "best_epochs": np.asarray(best.epoch)[:, 0].tolist(),
      "accuracies": scores,
      "seconds": round(time.monotonic() - start, 1),
      "finished": datetime.date.today().isoformat(),
    }
    files.write_json(folder / _RESULTS, results)
  return results


def accuracies(
  run: FinishedRun, questions: question_set.QuestionSet, **settings: Any
) -> dict[str, list[float]]:
  """Returns task -> the accuracy of every seed; see `answers.log_probs`."""
  decisions = np.argmax(run.log_probs(questions, **settings), axis=-1)
  return {
    task: np.mean(
      (decisions == questions.labels)[:, questions.tasks == task], axis=1
    ).tolist()
    for task in run.setup.config.chosen_tasks
  }


def save(
  workdir: str | os.PathLike, setup: setup_lib.Setup, params: chex.ArrayTree
) -> None:
  """Saves the models `[S, ...]` of a run."""
  model_checkpoints.save(str(workdir), _STAGE, _models(setup, params))


def load(workdir: str | os.PathLike) -> FinishedRun:
  """Loads the models of a finished run.

  Raises:
    InputError: if there is no such run, or it is not finished.
  """
  folder = pathlib.Path(workdir)
  setup = setup_lib.make(_read_config(folder))
  first = jax.tree.map(
    lambda x: x[:1], setup.questions("valid", 100).to_batch()
  )
  shapes = jax.eval_shape(
    jax.vmap(
      lambda seed: setup.trainer.init(seed, types.Split(first, None)).best
    ),
    np.asarray(setup.config.seeds),
  )
  models = model_checkpoints.load(
    str(folder), _STAGE, _models(setup, shapes.params)
  )
  return FinishedRun(setup, jax.tree.map(jax.numpy.asarray, models.params))


def _describe(config):
  """Describes a run in a line."""
  parts = [
    tables_lib.quantity(config.num_train, "training question"),
    tables_lib.quantity(config.num_test, "test question"),
    tables_lib.quantity(config.num_seeds, "seed"),
  ]
  sounds = {"none": "no sounds", "tones": "tones", "spoken": "spoken digits"}
  return f"questions with {sounds[config.audio]}: {', '.join(parts)}"


def _models(setup, params):
  run_params = vectorized_runs.stack_params(setup.trainer.rule, [_SPEC])
  run_params = vectorized_runs.select_setting(run_params, 0)
  return model_checkpoints.Multimodal(params, None, run_params)


def _fit(
  setup: setup_lib.Setup,
  splits: Mapping[str, question_set.QuestionSet],
  progress: progress_lib.Progress,
  interrupt: interrupt_lib.Interrupt,
) -> state_lib.Best:
  """Trains all seeds as one program, with a log and checkpoints."""
  config = setup.config
  batches = [splits[s].to_batch() for s in ("train", "valid")]
  progress.begin("language model", config.num_epochs)
  return loop.fit(
    setup.trimmed(*splits.values()),
    [_SPEC],
    config.seeds,
    *(types.Split(batch, None) for batch in batches),
    num_epochs=config.num_epochs,
    callbacks=_callbacks(config, progress, interrupt),
    checkpoints=train_checkpoints.TrainCheckpoints(
      config.workdir,
      _STAGE,
      scalers=[],
      about={"config": config_lib.to_dict(config)},
      inputs=fingerprints.of_arrays(
        [splits["train"].tokens, splits["valid"].tokens]
      ),
      seconds=config.snapshot_seconds,
      resume=config.resume,
    ),
  )


def _callbacks(config, progress, interrupt):
  """Returns callbacks that write metrics and show the progress."""
  metrics = csv_table.CsvTable(
    pathlib.Path(config.workdir) / "metrics.csv",
    ("seed", "epoch", "split", "loss", "accuracy"),
    resume=config.resume,
  )

  def on_epoch(epoch, log):
    metrics.write(
      {
        "seed": seed,
        "epoch": epoch,
        "split": split,
        "loss": f"{log[f'{split}_loss'][0, s, 0]:.6g}",
        "accuracy": f"{log[f'{split}_score'][0, s, 0]:.6g}",
      }
      for s, seed in enumerate(config.seeds)
      for split in ("train", "valid")
    )
    loss = np.mean(log["valid_loss"])
    progress.advance(f"mean validation loss {loss:.3f}")

  def on_resume(num_epochs, num_batches):
    del num_batches
    metrics.keep_epochs(num_epochs, lambda row: True)
    progress.resume(num_epochs)
    if num_epochs:
      logging.info("going on after epoch %d", num_epochs)

  return loop.Callbacks(
    on_epoch=on_epoch,
    on_resume=on_resume,
    should_stop=lambda: interrupt.requested,
  )


def _start_from(setup):
  """Returns the setup whose trainer starts from the models of another run."""
  config = setup.config
  if not config.start:
    return setup
  run = load(config.start)
  before = run.setup.config
  same = ("seeds", "audio", "embedding_dim", "hidden_dim", "num_layers",
          "num_heads", "num_kv_heads", "tower_layers", "tied")  # fmt: skip
  for name in same:
    if getattr(before, name) != getattr(config, name):
      flag = "num_seeds" if name == "seeds" else name
      raise errors.InputError(
        f"--start={config.start}: was trained with another --{flag}: give the"
        " same."
      )

  def start(seed):
    place = jax.numpy.argmax(jax.numpy.asarray(config.seeds) == seed)
    return jax.tree.map(lambda x: x[place], run.params)

  trainer = dataclasses.replace(setup.trainer, start=start)
  return dataclasses.replace(setup, trainer=trainer)


def _read_config(folder):
  """Reads the configuration of a run of the language model."""
  file = folder / _CONFIG
  if not file.exists():
    raise errors.InputError(f"{file}: no such file: set --workdir to a run.")
  content = files.read_json(file, "copy it again, or train again")
  try:
    values = content["language"]
  except KeyError as error:
    raise errors.InputError(
      f"{file}: is not a run of the language model: train one with the program"
      " train_language."
    ) from error
  return config_lib.from_dict({**values, "workdir": str(folder)})


def _check_same_config(folder, config):
  """Refuses a folder that holds a run of another configuration."""
  if not (folder / _CONFIG).exists():
    return
  names = config_lib.differing(config, _read_config(folder))
  if names:
    listed = ", ".join(f"--{name}" for name in names)
    raise errors.InputError(
      f"--workdir={folder}: holds a run with another {listed}: choose another"
      " folder or delete that one."
    )
