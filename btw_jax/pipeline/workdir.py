"""The folder of a run: its configuration and the tables of its training."""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import itertools
import os
import pathlib
import platform
from typing import Any

from absl import logging
import numpy as np

import btw_jax
from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import labels
from btw_jax.models import routers
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from btw_jax.pipeline import settings
from btw_jax.pipeline import tensorboard
from btw_jax.training import train_checkpoints
from btw_jax.training import vectorized_runs

_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
_CONFIG, _RESULTS = "config.json", "results.json"
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


@dataclasses.dataclass(frozen=True)
class DataShape:
  """The properties of a data set that the models depend on.

  Attributes:
    modalities: names, in order.
    widths: number of features of each modality.
    task: name of the task.
    num_classes: number of classes or labels.
    num_steps: number of steps of each modality; 0 for a vector.
    num_scalers: 1 if seeds share the examples, else the number of seeds.
    classes: the classes, or the numbers of the labels, in order; none for
      regression.
    columns: modality -> names of its features, where they have names.
  """

  modalities: tuple[str, ...]
  widths: tuple[int, ...]
  task: str
  num_classes: int
  num_steps: tuple[int, ...]
  num_scalers: int
  classes: tuple[labels.Class, ...] = ()
  columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

  @classmethod
  def from_dataset(
    cls, dataset: dataset_lib.Dataset, num_scalers: int
  ) -> "DataShape":
    """Returns the shape of a data set."""
    return cls(
      dataset.modalities,
      dataset.widths,
      dataset.task,
      dataset.num_classes,
      dataset.num_steps,
      num_scalers,
      dataset.classes,
      {m: tuple(names) for m, names in dataset.columns.items()},
    )


@dataclasses.dataclass(frozen=True)
class SavedConfig:
  """The content of `config.json`.

  Attributes:
    config: the configuration.
    shape: of the data.
    sizes: split -> number of examples.
    fingerprint: of the data; empty for a run of an earlier version.
  """

  config: config_lib.RunConfig
  shape: DataShape
  sizes: Mapping[str, int]
  fingerprint: str = ""


class Workdir:
  """The folder of a run that trains.

  Attributes:
    path: the folder.
    about: JSON that stands beside every snapshot, so that flags and data are
      known where `config.json` is lost.
  """

  def __init__(self, saved: SavedConfig, unit: str):
    """Starts the run's files, or resumes them.

    Args:
      saved: the content of `config.json`.
      unit: name of the mean score.

    Raises:
      InputError: if the folder cannot be made, or another process holds it.
    """
    config, self._shape = saved.config, saved.shape
    self.about = {
      "config": config_lib.to_dict(config),
      "data": saved.fingerprint,
    }
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
    files.write_json(self.path / _CONFIG, _to_json(saved))
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

  def rewind(self, stage: str, num_epochs: int) -> None:
    """Removes a stage's rows of epochs that will be trained again.

    The first `num_epochs` of the stage are kept.
    """

    def of_stage(row):
      # Only the multimodal stage has weights, so weights.csv names no stage.
      return row.get("stage", "multimodal") == stage

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
    epoch: int,
    log: Mapping[str, np.ndarray],
    score_factor: np.ndarray,
  ) -> None:
    """Appends an epoch of every run to the tables.

    Args:
      stage: "unimodal", "scale", "rate", "multimodal", "gate" or the name of a
        balancing method; with "refit_" before it, the same once more on
        training and validation examples.
      specs: R settings.
      epoch: its number, from 0.
      log: of `loop.fit`, `[R, S, ...]`.
      score_factor: `[S]`, from the score's unit in training to the target's.
    """
    metrics, weights, routing = [], [], []
    for r, spec in enumerate(specs):
      self._write_events(stage, spec, r, epoch, log, score_factor)
      for s, seed in enumerate(self._seeds):
        columns = dict(
          zip(
            _RUN_COLUMNS, (spec.strength, spec.scale, seed, epoch), strict=True
          )
        )
        name = f"{spec.rate:g}" if stage == "rate" else spec.run_name
        run = {"run": name, **columns}
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

  def _write_events(self, stage, spec, r, epoch, log, score_factor):
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
      self._events.write(f"{stage}/{name}", epoch, scalars)


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


def check_same_config(config: config_lib.RunConfig) -> None:
  """Refuses a workdir that holds a run of another configuration.

  Raises:
    InputError: naming the flags that differ.
  """
  # Of `config.json`, or of a snapshot where that file is lost.
  for place, earlier, _ in itertools.islice(_earlier(config), 1):
    names = config_lib.differing(config, earlier)
    if names:
      there = config_lib.to_dict(earlier).items()
      text = {
        k: ",".join(v) if isinstance(v, list) else str(v) for k, v in there
      }
      listed = ", ".join(f"--{k} ({text[k] or 'empty'} there)" for k in names)
      raise errors.InputError(
        f"{place}: holds a run with other flags, {listed}: choose another"
        " folder or delete that one."
      )


def check_same_data(saved: SavedConfig) -> None:
  """Refuses a workdir that holds a run that was trained on other data.

  Raises:
    InputError: if it does.
  """
  for place, _, fingerprint in _earlier(saved.config):
    if fingerprint and fingerprint != saved.fingerprint:
      raise errors.InputError(
        f"{place}: holds a run that was trained on other data: choose another"
        " folder, or start anew with --noresume."
      )


def _earlier(config):
  """Yields the place, configuration and data of what a workdir holds.

  Snapshots count where the run would resume them.
  """
  folder = pathlib.Path(config.workdir)
  if (folder / _CONFIG).exists():
    saved = read(folder)
    yield f"--workdir={folder}", saved.config, saved.fingerprint
  if not config.resume:
    return
  for path, about in train_checkpoints.read_about(folder).items():
    if "data" in about:
      values = {**about["config"], "workdir": config.workdir}
      yield str(path), config_lib.from_dict(values), about["data"]


def is_finished(config: config_lib.RunConfig) -> bool:
  """Returns whether the workdir holds the results of as many epochs."""
  folder = pathlib.Path(config.workdir)
  if not (folder / _RESULTS).exists():
    return False
  return read(folder).config.num_epochs == config.num_epochs


def read_results(workdir: str | os.PathLike) -> dict[str, Any]:
  """Reads the `results.json` of a finished run.

  Raises:
    InputError: if the file is missing or cannot be read.
  """
  file = pathlib.Path(workdir) / _RESULTS
  return files.read_json(file, "remove it, and start the run again")


def read(path: str | os.PathLike) -> SavedConfig:
  """Reads a run's `config.json`; its workdir becomes `path`.

  Raises:
    InputError: if the file is missing or cannot be read.
  """
  file = pathlib.Path(path) / _CONFIG
  if not file.exists():
    raise errors.InputError(f"{file}: no such file: set --workdir to a run.")
  values = files.read_json(file, "copy it again, or train again")
  try:
    shape = {
      k: tuple(v) if isinstance(v, list) else v
      for k, v in values["data"]["shape"].items()
    }
    # Runs of earlier versions numbered their classes.
    if not shape.get("classes") and shape["task"] != "regression":
      number = 2 if shape["task"] == "binary" else shape["num_classes"]
      shape["classes"] = tuple(range(number))
    saved = {**values["config"], "workdir": str(path)}
    _check_settings(file, saved)
    return SavedConfig(
      config_lib.from_dict(saved),
      DataShape(**shape),
      values["data"]["sizes"],
      values["data"].get("fingerprint", ""),
    )
  except (KeyError, TypeError) as error:
    raise errors.InputError(
      f"{file}: is not a configuration of this version ({error!r}): train"
      " again."
    ) from error


def _check_settings(file, values):
  """Refuses values in a file that no flag could have."""
  fields = {s.name: s.field for s in config_lib.settings()}
  known = {name: v for name, v in values.items() if name in fields}
  try:
    settings.check(known, fields, see="")
  except errors.InputError as error:
    raise errors.InputError(f"{file}: {error}") from error


def _expert_columns(num_experts):
  return [f"expert{e}" for e in range(num_experts)]


def _to_json(saved):
  return {
    "config": config_lib.to_dict(saved.config),
    "data": {
      "shape": dataclasses.asdict(saved.shape),
      "sizes": dict(saved.sizes),
      "fingerprint": saved.fingerprint,
    },
    "versions": {
      "python": platform.python_version(),
      "btw_jax": btw_jax.__version__,
      **{name: importlib.metadata.version(name) for name in _PACKAGES},
    },
  }
