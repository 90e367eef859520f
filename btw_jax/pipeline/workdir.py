"""The files that a run leaves, and how they are written."""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import json
import pathlib
import platform

import numpy as np

from btw_jax import errors
from btw_jax.models import routers
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import files
from btw_jax.pipeline import tensorboard
from btw_jax.training import vectorized_runs

_VERSIONS = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
_CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class SavedConfig:
  """What `config.json` holds.

  Attributes:
    config: the flags.
    shape: of the data.
    sizes: split -> number of examples.
  """

  config: config_lib.Config
  shape: build.Shape
  sizes: Mapping[str, int]


class Workdir:
  """A run's folder."""

  def __init__(self, written: SavedConfig, unit: str):
    """Starts the run's files, or goes on with them.

    Args:
      written: what to keep in `config.json`; its flags say whether to go on.
      unit: name of the mean score.

    Raises:
      InputError: if the folder holds a run of another configuration.
    """
    self.path = pathlib.Path(written.config.workdir)
    self._shape, self._unit = written.shape, unit
    self._config = written.config
    check_same_config(written.config)
    try:
      self.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise errors.InputError(
        f"--workdir={self.path}: cannot be made ({error.strerror}): choose"
        " another."
      ) from error
    stale = ["results.json", "results.md", "predictions.csv"]
    files.remove(self.path / name for name in stale)
    files.write_json(self.path / _CONFIG, _to_json(written))
    moe = written.config.model == "moe"
    self._metrics = csv_table.CsvTable(
      self.path / "metrics.csv",
      ("stage", "run", "strength", "scale", "seed", "epoch", "split", "loss",
       unit, *(routers.PENALTIES if moe else ())),
      go_on=self._config.resume,
    )  # fmt: skip
    if moe:
      self._routing = csv_table.CsvTable(
        self.path / "routing.csv",
        ("stage", "run", "strength", "scale", "seed", "epoch", "layer",
         "modality", *_experts(written.config.num_experts)),
        go_on=self._config.resume,
      )  # fmt: skip
    self._weights = csv_table.CsvTable(
      self.path / "weights.csv",
      ("run", "strength", "scale", "seed", "epoch", "alpha",
       *written.shape.modalities),
      go_on=self._config.resume,
    )  # fmt: skip

    self._events = tensorboard.EventWriter(
      self.path / "tensorboard", go_on=self._config.resume
    )

  def close(self) -> None:
    """Closes what is written continuously."""
    self._events.close()

  def rewind(self, stage: str, num_epochs: int) -> None:
    """Forgets what was logged of a stage after an epoch that it goes on from.

    Args:
      stage: "unimodal", "scale" or "multimodal".
      num_epochs: epochs of it to keep.
    """

    def wanted(row):
      # Weights are those of the only stage that has some.
      own = row.get("stage", "multimodal") == stage
      return not own or int(row["epoch"]) < num_epochs

    tables = [self._metrics, self._weights]
    if self._config.model == "moe":
      tables.append(self._routing)
    for table in tables:
      table.retain(wanted)

  def log_epoch(
    self,
    stage: str,
    choices: Sequence[vectorized_runs.RunSpec],
    epoch: int,
    log: Mapping[str, np.ndarray],
    score_factor: np.ndarray,
  ) -> None:
    """Appends an epoch of every run to the tables.

    Args:
      stage: "unimodal", "scale" or "multimodal".
      choices: R cells.
      epoch: number, from 0.
      log: what `stages.fit` observes, `[R, S, ...]`.
      score_factor: `[S]`, from the score's unit in training to the target's.
    """
    metrics, weights, routing = [], [], []
    for r, choice in enumerate(choices):
      self._log_events(stage, choice, r, epoch, log, score_factor)
      for s, seed in enumerate(self._config.seeds):
        where = {
          "strength": choice.strength,
          "scale": choice.scale,
          "seed": seed,
          "epoch": epoch,
        }
        names = [choice.variant]
        if stage == "unimodal":
          names = self._shape.modalities
        metrics += [
          {
            "stage": stage,
            "run": name,
            **where,
            "split": split,
            "loss": f"{log[f'{split}_loss'][r, s, u]:.6g}",
            self._unit: (
              f"{log[f'{split}_score'][r, s, u] * score_factor[s]:.6g}"
            ),
          }
          for u, name in enumerate(names)
          for split in ("train", "valid")
        ]
        if "penalties" in log:
          metrics[-2] |= {
            name: f"{value[r, s]:.6g}"
            for name, value in log["penalties"].items()
          }
          where_routed = {"stage": stage, "run": choice.variant, **where}
          routing += self._routing_rows(where_routed, log["routing"][r, s])
        if "weights" in log:
          mean = (f"{w:.6g}" for w in log["weights"][r, s])
          weights.append(
            {
              "run": choice.variant,
              **where,
              "alpha": f"{log['alpha'][r, s]:.4g}",
              **dict(zip(self._shape.modalities, mean, strict=True)),
            }
          )
    self._metrics.write(metrics)
    self._weights.write(weights)
    if routing:
      self._routing.write(routing)

  def _log_events(self, stage, choice, r, epoch, log, score_factor):
    """Means over seeds."""
    names = [f"{choice.variant}@{choice.strength:g}"]
    if stage == "unimodal":
      names = self._shape.modalities
    if stage == "scale":
      names = [f"{choice.scale:g}"]
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

  def _routing_rows(self, where, shares):
    """Of each layer and modality, the share that each expert got."""
    for layer, of_modalities in enumerate(shares):
      for modality, of_experts in zip(
        self._shape.modalities, of_modalities, strict=True
      ):
        named = zip(_experts(len(of_experts)), of_experts, strict=True)
        yield {
          **where,
          "layer": layer,
          "modality": modality,
          **{expert: f"{share:.4g}" for expert, share in named},
        }


def check_same_config(config: config_lib.Config) -> None:
  """Refuses a folder that holds a run of another configuration.

  Args:
    config: of the run to start.

  Raises:
    InputError: naming the flags that differ.
  """
  path = pathlib.Path(config.workdir)
  if not (path / _CONFIG).exists():
    return
  there = read(path).config
  before = config_lib.to_dict(there)
  differ = config_lib.differing(config, there)
  if differ:
    listed = ", ".join(f"--{k} ({before[k]} there)" for k in differ)
    raise errors.InputError(
      f"--workdir={path}: holds a run with other flags, {listed}: choose"
      " another folder or delete that one."
    )


def read(path: str | pathlib.Path) -> SavedConfig:
  """Reads a run's `config.json`.

  Args:
    path: the workdir.

  Returns:
    What it holds.

  Raises:
    InputError: if there is none, or it cannot be read.
  """
  file = pathlib.Path(path) / _CONFIG
  if not file.exists():
    raise errors.InputError(f"{file}: no such file: set --workdir to a run.")
  try:
    values = json.loads(file.read_text(encoding="utf-8"))
    shape = {
      k: tuple(v) if isinstance(v, list) else v
      for k, v in values["data"]["shape"].items()
    }
    return SavedConfig(
      config_lib.from_dict(values["config"]),
      build.Shape(**shape),
      values["data"]["sizes"],
    )
  except (json.JSONDecodeError, KeyError, TypeError) as error:
    raise errors.InputError(
      f"{file}: is no configuration of this version ({error!r}): train again."
    ) from error


def _experts(num_experts):
  return [f"expert{e}" for e in range(num_experts)]


def _to_json(written):
  return {
    "config": config_lib.to_dict(written.config),
    "data": {
      "shape": dataclasses.asdict(written.shape),
      "sizes": dict(written.sizes),
    },
    "versions": {
      "python": platform.python_version(),
      **{name: importlib.metadata.version(name) for name in _VERSIONS},
    },
  }
