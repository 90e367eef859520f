"""The configuration of a run with what its data is: `config.json`."""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import itertools
import os
import pathlib
import platform
from typing import Any

import btw_jax
from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import labels
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import files
from btw_jax.pipeline import settings
from btw_jax.training import train_checkpoints

_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
_FILE = "config.json"


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
    vocab_sizes: modality -> number of tokens there are, where it holds tokens.
    text_encoder: fingerprint of the folder of the text encoder, if there is
      one.
  """

  modalities: tuple[str, ...]
  widths: tuple[int, ...]
  task: str
  num_classes: int
  num_steps: tuple[int, ...]
  num_scalers: int
  classes: tuple[labels.Class, ...] = ()
  columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  vocab_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  text_encoder: str = ""

  @classmethod
  def from_dataset(
    cls,
    dataset: dataset_lib.Dataset,
    num_scalers: int,
    text_encoder: str = "",
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
      dict(dataset.vocab_sizes),
      text_encoder,
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

  @property
  def about(self) -> dict[str, Any]:
    """JSON that names the flags and the data of a run, for its snapshots."""
    return {
      "config": config_lib.to_dict(self.config),
      "data": self.fingerprint,
    }

  def write(self) -> None:
    """Writes `config.json` into the workdir."""
    content = {
      "config": config_lib.to_dict(self.config),
      "data": {
        "shape": dataclasses.asdict(self.shape),
        "sizes": dict(self.sizes),
        "fingerprint": self.fingerprint,
      },
      "versions": {
        "python": platform.python_version(),
        "btw_jax": btw_jax.__version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
      },
    }
    files.write_json(pathlib.Path(self.config.workdir) / _FILE, content)


def read(path: str | os.PathLike) -> SavedConfig:
  """Reads a run's `config.json`; its workdir becomes `path`.

  Raises:
    InputError: if the file is missing or cannot be read.
  """
  file = pathlib.Path(path) / _FILE
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
  if (folder / _FILE).exists():
    saved = read(folder)
    yield f"--workdir={folder}", saved.config, saved.fingerprint
  if not config.resume:
    return
  for path, about in train_checkpoints.read_about(folder).items():
    if "data" in about:
      values = {**about["config"], "workdir": config.workdir}
      yield str(path), config_lib.from_dict(values), about["data"]
