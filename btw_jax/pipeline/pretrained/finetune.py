"""Fine-tuning of a pretrained multimodal model on a question file, by LoRA.

Adapters of the last layers train; the model stays as it is. Questions held out
measure accuracy and interference before and after.
"""

from collections.abc import Mapping
import csv
import math
import pathlib
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax.data.sources import questions as questions_lib
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import lora as lora_lib
from btw_jax.models.pretrained import saving
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import finetune_config
from btw_jax.pipeline.pretrained import finetune_files as files_lib
from btw_jax.pipeline.pretrained import finetune_training
from btw_jax.pipeline.pretrained import pairs as pairs_lib
from btw_jax.pipeline.pretrained import questions
from btw_jax.training import model_checkpoints

# Of held-out questions: the perturbed views are drawn once, as of this epoch.
_MEASURED = 2**20
# Seconds between lines of the log.
_SECONDS_BETWEEN_LINES = 15
_MEASURES = ("accuracy", "accuracy_perturbed", "changed", "nll")


class _Run(NamedTuple):
  """The parts of a run."""

  config: finetune_config.FinetuneConfig
  answerer: questions.Answerer
  train: pairs_lib.Pairs
  valid: pairs_lib.Pairs
  workdir: pathlib.Path


class _Final(NamedTuple):
  """The adapters in the end, as they are saved."""

  adapters: Mapping[str, Any]


def run(
  config: finetune_config.FinetuneConfig,
  interrupt: interrupt_lib.Interrupt | None = None,
) -> dict[str, Any]:
  """Fine-tunes, measures, and leaves adapters and results in the workdir.

  Args:
    config: the settings.
    interrupt: requests to stop; listens from the start by default.

  Returns:
    The content of `results.json`.

  Raises:
    InputError: if a setting or a file is wrong.
    Interrupted: if the run stopped as requested.
  """
  interrupt = interrupt or interrupt_lib.Interrupt()
  start = time.monotonic()
  entries = questions_lib.entries(config.questions, questions.MAX_OPTIONS)
  weights = (
    files_lib.read_weights(config.weights, entries) if config.weights else {}
  )
  train, valid = _hold_out(entries, config.valid_share, config.seed)
  questions.check_folder(config.pretrained)
  path, content = pathlib.Path(config.workdir), files_lib.describe(config)
  if config.resume:
    files_lib.check_same(path, content)
    if (path / files_lib.RESULTS).exists():
      return _read_finished(config, path)
  answerer = questions.load(
    config.pretrained,
    dtype=config.dtype,
    split_images=config.split_images,
    batch_size=config.batch_size,
    seed=config.seed,
  )
  parts = (
    config,
    answerer,
    pairs_lib.Pairs(answerer, train, weights),
    pairs_lib.Pairs(answerer, valid),
    path,
  )
  folders.check_plain("workdir", config.workdir)
  with folders.Lock("workdir", folders.make("workdir", config.workdir)):
    files_lib.begin(path, content, resume=config.resume)
    return _finetune(_Run(*parts), interrupt, start)


def _read_finished(config, path):
  """Returns the results of a finished run; leaves its model if asked to."""
  logging.info("%s: the run is finished, nothing is trained", path)
  results = files.read_json(path / files_lib.RESULTS, "train with --noresume")
  if config.save_model and not (path / files_lib.MODEL).exists():
    with folders.Lock("workdir", path):
      _save_model(config, path)
  return results


def _finetune(run, interrupt, start):
  """Trains all epochs, and measures before and after."""
  config, params = run.config, run.answerer.model.params
  trainer = finetune_training.Trainer(config, run.answerer.model, run.train)
  state = trainer.initial()
  # Without --resume nothing of an earlier run is left.
  if (run.workdir / "checkpoints" / files_lib.SNAPSHOT).exists():
    shapes = jax.tree.map(np.asarray, state)
    state = jax.tree.map(
      jnp.asarray,
      model_checkpoints.load(config.workdir, files_lib.SNAPSHOT, shapes),
    )
  table = csv_table.CsvTable(
    run.workdir / files_lib.METRICS,
    ("epoch", "split", "loss", *_MEASURES),
    resume=True,
  )
  table.keep_epochs(int(state.epoch) + 1, lambda row: True)
  measured = _read_measures(run.workdir / files_lib.METRICS)
  if 0 not in measured:
    before = _measure(run, trainer.initial())
    table.write([{"epoch": 0, "split": "valid", **before}])
  while int(state.epoch) < config.num_epochs:
    state = _train_epoch(run, trainer, state, interrupt, table)
  measured = _read_measures(run.workdir / files_lib.METRICS)
  after = measured.get(config.num_epochs) or _measure(run, state)
  model_checkpoints.save(
    config.workdir, files_lib.FINAL, _Final(state.adapters)
  )
  results = {
    "pretrained": config.pretrained,
    "questions": config.questions,
    "sizes": {"train": len(run.train.clean), "valid": len(run.valid.clean)},
    "mitigation": list(config.mitigation),
    "before": measured[0],
    "after": after,
    "num_parameters": {
      "model": sum(math.prod(x.shape) for x in params.values()),
      "trained": sum(x.size for x in state.adapters.values()),
    },
    "seconds": round(time.monotonic() - start, 1),
  }
  files.write_json(run.workdir / files_lib.RESULTS, results)
  if config.save_model:
    _save_model(config, run.workdir)
  return results


def _save_model(config, path):
  """Writes the changed model of a finished run, unless it is there."""
  if (path / files_lib.MODEL).exists():
    raise errors.InputError(
      f"{path / files_lib.MODEL}: exists: remove it, or leave --save_model out."
    )
  lora = finetune_training.lora_of(config)
  shapes = catalog.shapes(config.pretrained)
  adapters = jax.eval_shape(
    lambda: lora_lib.init(jax.random.key(0), shapes, lora)
  )
  saved = model_checkpoints.load(
    config.workdir, files_lib.FINAL, _Final(adapters)
  )
  with progress_lib.doing("writing the changed model"):
    saving.save(
      lora_lib.merge(config.pretrained, saved.adapters, lora),
      path / files_lib.MODEL,
    )


def _train_epoch(run, trainer, state, interrupt, table):
  """Trains the rest of an epoch, measures and saves."""
  config, epoch = run.config, int(state.epoch)
  where = f"epoch {epoch + 1} of {config.num_epochs}"
  saved = said = time.monotonic()
  latest = state
  for latest in trainer.steps(state):
    now = time.monotonic()
    batch = f"{where}, batch {int(latest.position)}"
    if now - said >= _SECONDS_BETWEEN_LINES:
      said = now
      logging.info("%s: mean loss %.3f", batch, latest.sums.means()["loss"])
    if interrupt.requested or now - saved >= config.snapshot_seconds:
      saved = now
      model_checkpoints.save(config.workdir, files_lib.SNAPSHOT, latest)
    if interrupt.requested:
      raise interrupt_lib.Interrupted(
        f"{batch}: the adapters are saved; the same flags resume the run",
        interrupt.number,
      )
  means, state = trainer.end_epoch(latest)
  rows = [
    {"epoch": epoch + 1, "split": "train", **means},
    {"epoch": epoch + 1, "split": "valid", **_measure(run, state)},
  ]
  table.write(rows)
  model_checkpoints.save(config.workdir, files_lib.SNAPSHOT, state)
  logging.info(
    "%s: accuracy %.1f %%, beside what does not matter %.1f %%",
    where,
    100 * rows[-1]["accuracy"],
    100 * rows[-1]["accuracy_perturbed"],
  )
  return state


def _measure(run, state):
  """Measures accuracy and interference on the questions held out."""
  adapters = lora_lib.scaled(
    state.adapters, finetune_training.lora_of(run.config)
  )
  with progress_lib.doing("measuring on the questions held out"):
    clean, perturbed = (
      answers_lib.score(
        run.answerer.model,
        asks,
        run.config.batch_size,
        least_mass=0.0,
        adapters=adapters,
      ).log_probs
      for asks in (
        run.valid.clean,
        run.valid.perturb(run.config.seed, _MEASURED),
      )
    )
  labels = run.valid.labels
  decisions, moved = clean.argmax(axis=1), perturbed.argmax(axis=1)
  nll = -clean[np.arange(len(labels)), labels]
  return {
    "accuracy": float(np.mean(decisions == labels)),
    "accuracy_perturbed": float(np.mean(moved == labels)),
    "changed": float(np.mean(decisions != moved)),
    "nll": float(np.mean(nll)),
  }


def _read_measures(path):
  """Returns epoch -> measures on the questions held out."""
  with path.open(newline="", encoding="utf-8") as file:
    rows = [row for row in csv.DictReader(file) if row["split"] == "valid"]
  return {
    int(row["epoch"]): {name: float(row[name]) for name in _MEASURES}
    for row in rows
  }


def _hold_out(entries, share, seed):
  """Splits questions at random, those with and without an image alike.

  Raises:
    InputError: if there are too few.
  """
  rng, is_valid = np.random.default_rng(seed), np.zeros(len(entries), bool)
  has_image = np.array([entry.has_image for entry in entries])
  for kind in (True, False):
    rows = rng.permutation(np.flatnonzero(has_image == kind))
    # At least one of several, and not all.
    number = min(max(round(share * len(rows)), 1), len(rows) - 1)
    is_valid[rows[: max(number, 0)]] = True
  if not is_valid.any():
    raise errors.InputError(
      f"the question file has {len(entries)} questions, too few to train on"
      " some and measure on others: give two or more with an image, or without."
    )
  return (
    [e for e, held in zip(entries, is_valid, strict=True) if held == part]
    for part in (False, True)
  )
