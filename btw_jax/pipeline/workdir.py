"""The folder of a run: the tables of its training."""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np

from btw_jax import errors
from btw_jax.models import routers
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import tensorboard
from btw_jax.training import vectorized_runs

_RESULTS = "results.json"
_METRICS = "metrics.csv"
# The folders of models, while they train and afterwards.
_MODELS = ("snapshots", "checkpoints", "tensorboard")
# The weights of the training examples of a run that was given arrays.
WEIGHTS = "train_weights.npy"
_STALE = (
  _RESULTS, "results.md", "predictions.csv", "choices.json", "training.png",
  WEIGHTS,
)  # fmt: skip
_RUN_COLUMNS = ("strength", "scale", "seed", "epoch")
# The names of columns and rows of tables that have modalities beside them.
_RESERVED = {
  *_RUN_COLUMNS, *config_sections.WEIGHTINGS, *config_sections.BALANCES,
  "run", "stage", "split", "loss", "alpha", "layer", "modality", "ensemble",
}  # fmt: skip


class Workdir:
  """The folder of a run that trains.

  Attributes:
    path: the folder.
    about: JSON that stands beside every snapshot, so that flags and data are
      known where `config.json` is lost.
  """

  def __init__(self, saved: saved_config.SavedConfig, unit: str):
    """Starts the run's files, or resumes them.

    Args:
      saved: the content of `config.json`.
      unit: name of the mean score.

    Raises:
      InputError: if the folder cannot be made, or another process holds it.
    """
    config, self._shape = saved.config, saved.shape
    self.about = saved.about
    folders.check_plain("workdir", config.workdir)
    self.path = folders.make("workdir", config.workdir)
    for name in _MODELS:
      if (self.path / name).exists() and not (self.path / name).is_dir():
        raise errors.InputError(
          f"{self.path / name}: is no folder, and the run keeps its models"
          " there: remove it, or choose another --workdir."
        )
    self._lock = folders.Lock("workdir", self.path)
    self._seeds, self._unit = config.seeds, unit
    files.remove(self.path / name for name in _STALE)
    saved.write()
    is_mixture = config.model.kind == "moe"

    def open_table(name, *columns):
      return csv_table.CsvTable(self.path / name, columns, resume=config.resume)

    penalties = routers.PENALTIES if is_mixture else ()
    self._metrics = open_table(
      _METRICS, "stage", "run", *_RUN_COLUMNS, "split", "loss", unit,
      *penalties,
    )  # fmt: skip
    self._weights = open_table(
      "weights.csv", "run", *_RUN_COLUMNS, "alpha", *self._shape.modalities
    )
    self._tables = [self._metrics, self._weights]
    if is_mixture:
      self._routing = open_table(
        "routing.csv", "stage", "run", *_RUN_COLUMNS, "layer", "modality",
        *_expert_columns(config.mixture.num_experts),
      )  # fmt: skip
      self._tables.append(self._routing)
    self._events = tensorboard.EventWriter(
      self.path / "tensorboard", resume=config.resume
    )

  def close(self) -> None:
    """Closes the event files, and lets other processes use the folder."""
    self._events.close()
    self._lock.close()

  def rewind(
    self,
    stage: str,
    num_epochs: int,
    specs: Sequence[vectorized_runs.RunSpec],
    seeds: Sequence[int],
  ) -> None:
    """Removes rows of epochs that will be trained again.

    The first `num_epochs` of the settings and seeds of the stage are kept.
    """
    keys = {
      (stage, f"{spec.strength}", f"{spec.scale}", f"{seed}")
      for spec in specs
      for seed in seeds
    }
    names = {_run_name(stage, spec) for spec in specs}

    def of_stage(row):
      # Only the multimodal stage has weights, so weights.csv names no stage.
      key = (row.get("stage", "multimodal"), *map(row.get, _RUN_COLUMNS[:3]))
      return key in keys and (None in names or row["run"] in names)

    num_lost, *_ = [
      table.keep_epochs(num_epochs, of_stage) for table in self._tables
    ]
    if num_lost:
      logging.warning(
        "%s: lacks %d of the first %d epochs of %s: these rows were lost, the"
        " models were not",
        self.path / _METRICS,
        num_lost,
        num_epochs,
        stage,
      )

  def log_epoch(
    self,
    stage: str,
    specs: Sequence[vectorized_runs.RunSpec],
    seeds: Sequence[int],
    epoch: int,
    log: Mapping[str, np.ndarray],
    score_factor: np.ndarray,
  ) -> None:
    """Appends an epoch of some runs to the tables.

    Args:
      stage: "unimodal", "scale", "rate", "multimodal", "gate" or the name of a
        balancing method; with "refit_" before it, the same once more on
        training and validation examples.
      specs: R settings.
      seeds: S seeds.
      epoch: its number, from 0.
      log: of `loop.fit`, `[R, S, ...]`.
      score_factor: `[S]`, from the score's unit in training to the target's.
    """
    metrics, weights, routing = [], [], []
    for r, spec in enumerate(specs):
      self._write_events(stage, spec, seeds, r, epoch, log, score_factor)
      for s, seed in enumerate(seeds):
        columns = dict(
          zip(
            _RUN_COLUMNS, (spec.strength, spec.scale, seed, epoch), strict=True
          )
        )
        run = {"run": _run_name(stage, spec), **columns}
        rows = self._metric_rows(stage, run, log, r, s, score_factor[s])
        if "penalties" in log:
          # Penalties are those of training; train comes before valid.
          rows[-2] |= {
            name: f"{value[r, s]:.6g}"
            for name, value in log["penalties"].items()
          }
          routing += self._routing_rows(
            {"stage": stage, **run}, log["routing"][r, s]
          )
        metrics += rows
        if "weights" in log and stage == "multimodal":
          weights.append(self._weight_row(run, log, r, s))
    self._metrics.write(metrics)
    self._weights.write(weights)
    if routing:
      self._routing.write(routing)

  def _metric_rows(self, stage, run, log, r, s, score_factor):
    """Makes a row per model and split of one run."""
    names = [run["run"]]
    if stage.endswith("unimodal"):
      names = self._shape.modalities
    return [
      {
        "stage": stage,
        **run,
        "run": name,
        "split": split,
        "loss": f"{log[f'{split}_loss'][r, s, u]:.6g}",
        self._unit: f"{log[f'{split}_score'][r, s, u] * score_factor:.6g}",
      }
      for u, name in enumerate(names)
      for split in ("train", "valid")
    ]

  def _weight_row(self, run, log, r, s):
    means = (f"{w:.6g}" for w in log["weights"][r, s])
    return {
      **run,
      "alpha": f"{log['alpha'][r, s]:.4g}",
      **dict(zip(self._shape.modalities, means, strict=True)),
    }

  def _routing_rows(self, run, shares):
    """Makes a row per layer and modality: the share that each expert got."""
    for layer, of_modalities in enumerate(shares):
      for modality, of_experts in zip(
        self._shape.modalities, of_modalities, strict=True
      ):
        columns = _expert_columns(len(of_experts))
        named = zip(columns, of_experts, strict=True)
        yield {
          **run,
          "layer": layer,
          "modality": modality,
          **{expert: f"{share:.4g}" for expert, share in named},
        }

  def _write_events(self, stage, spec, seeds, r, epoch, log, score_factor):
    """Writes means over seeds to the event files."""
    names = [f"{spec.variant}@{spec.strength:g}"]
    if stage.endswith("unimodal"):
      names = self._shape.modalities
    if stage == "scale":
      names = [f"{spec.scale:g}"]
    elif stage == "rate":
      names = [f"{spec.rate:g}"]
    elif spec.balance:
      names = [spec.run_name]
    for u, name in enumerate(names):
      scalars = {}
      for split in ("train", "valid"):
        scalars[f"loss/{split}"] = log[f"{split}_loss"][r, :, u].mean()
        score = log[f"{split}_score"][r, :, u] * score_factor
        scalars[f"{self._unit}/{split}"] = score.mean()
      if "weights" in log:
        means = log["weights"][r].mean(axis=0)
        for modality, mean in zip(self._shape.modalities, means, strict=True):
          scalars[f"weight/{modality}"] = mean
      if len(seeds) < len(self._seeds):
        # Those of other seeds would be at the same epochs.
        name += f", seeds {seeds[0]} to {seeds[-1]}"
      self._events.write(f"{stage}/{name}", epoch, scalars)


def _run_name(stage, spec):
  """Returns the name of a setting's runs in a table; None for unimodal ones.

  Those have the names of their modalities.
  """
  if stage.endswith("unimodal"):
    return None
  return f"{spec.rate:g}" if stage == "rate" else spec.run_name


def check_modalities(modalities: Sequence[str]) -> None:
  """Refuses modalities with the names of columns and rows of a run's tables.

  Raises:
    InputError: naming the modality.
  """
  for name in modalities:
    if name in _RESERVED:
      raise errors.InputError(
        f"the modality {name!r} has the name of a column or a row in the tables"
        " of a run: rename it in the files, or leave it out with --modalities."
      )


def is_finished(config: config_lib.RunConfig) -> bool:
  """Returns whether the workdir holds the results of as many epochs."""
  folder = pathlib.Path(config.workdir)
  if not (folder / _RESULTS).exists():
    return False
  return saved_config.read(folder).config.num_epochs == config.num_epochs


def read_results(workdir: str | os.PathLike) -> dict[str, Any]:
  """Reads the `results.json` of a finished run.

  Raises:
    InputError: if the file is missing or cannot be read.
  """
  file = pathlib.Path(workdir) / _RESULTS
  return files.read_json(file, "remove it, and start the run again")


def _expert_columns(num_experts):
  return [f"expert{e}" for e in range(num_experts)]
