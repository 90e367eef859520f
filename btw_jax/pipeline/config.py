"""The configuration of a training run, nested by section.

Every field is a setting with a default, a help text and its bounds or choices;
`experiments.flags` makes a flag of each. A setting is named by its flag, which
is the field's name unless the metadata says otherwise. This module imports
nothing heavy, since every program reads it before it answers.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any, NamedTuple

from btw_jax import errors
from btw_jax.pipeline import config_sections as sections


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """The configuration of a run: its own settings, and sections.

  A run may be resumed with other values of the settings marked `free`.
  """

  workdir: str = sections.field(
    "runs/run", "folder of the run's files", free=True
  )
  num_seeds: int = sections.field(
    5, "number of seeds, trained together", low=1, high=1000
  )
  # All seeds stay below 2**31, which NumPy, scikit-learn and JAX accept.
  seed: int = sections.field(0, "first seed", low=0, high=10**9)
  resume: bool = sections.field(
    True, "resume a run that was stopped, if the workdir holds one", free=True
  )
  snapshot_seconds: int = sections.field(
    60, "least number of seconds between snapshots", low=0, free=True
  )
  num_epochs: int = sections.field(
    60, "number of epochs; may be raised for a run that is finished", low=1
  )
  batch_size: int = sections.field(
    32, "examples of a step, over all devices", low=1
  )
  device_batch_size: int = sections.field(
    0, "examples of a step on each device; replaces --batch_size", low=0
  )
  learning_rate: float = sections.field(1e-3, "learning rate of AdamW", low=0.0)
  weight_decay: float = sections.field(1e-4, "weight decay of AdamW", low=0.0)
  max_norm: float = sections.field(
    0.0, "largest norm of a gradient; 0 does not clip", low=0.0
  )
  max_skipped: int = sections.field(
    10,
    "steps in a row without a finite gradient after which the run ends",
    low=1,
  )
  patience: int = sections.field(
    0,
    "epochs without improvement after which a run ends; 0 trains all epochs",
    low=0,
  )

  refit: bool = sections.field(
    False,
    "train the chosen settings once more, on the training and validation"
    " examples together",
  )

  tune: int = sections.field(
    1,
    "candidates of each method for its own setting, chosen by validation; for"
    " the uniform model that is the learning rate of all models",
    low=1,
  )

  devices: sections.DevicesConfig = dataclasses.field(
    default_factory=sections.DevicesConfig
  )
  data: sections.DataConfig = dataclasses.field(
    default_factory=sections.DataConfig
  )
  weighting: sections.WeightingConfig = dataclasses.field(
    default_factory=sections.WeightingConfig
  )
  mitigation: sections.MitigationConfig = dataclasses.field(
    default_factory=sections.MitigationConfig
  )
  balance: sections.BalanceConfig = dataclasses.field(
    default_factory=sections.BalanceConfig
  )
  model: sections.ModelConfig = dataclasses.field(
    default_factory=sections.ModelConfig
  )
  text: sections.TextConfig = dataclasses.field(
    default_factory=sections.TextConfig
  )
  mixture: sections.MixtureConfig = dataclasses.field(
    default_factory=sections.MixtureConfig
  )

  @property
  def seeds(self) -> list[int]:
    """The seeds, one run each."""
    return list(range(self.seed, self.seed + self.num_seeds))


# The titles of the sections, in the order of the help.
SECTIONS = {
  "": "Run",
  "devices": "Devices",
  "data": "Data",
  "weighting": "Weighting",
  "mitigation": "Mitigation",
  "balance": "Balance",
  "model": "Model",
  "text": "Text",
  "mixture": "Mixture of experts (only with --model=moe)",
}


# Settings of earlier versions, which did not change any result.
_REMOVED = ("num_permutations",)


class Setting(NamedTuple):
  """One setting of the configuration.

  Attributes:
    name: of its flag.
    section: name of its section; empty for the run's own settings.
    field: the dataclass field.
  """

  name: str
  section: str
  field: dataclasses.Field


def settings() -> Iterator[Setting]:
  """Yields all settings, section by section."""
  classes = {f.name: f.default_factory for f in dataclasses.fields(RunConfig)}
  for section in SECTIONS:
    for field in dataclasses.fields(classes.get(section, RunConfig)):
      if "text" in field.metadata:
        yield Setting(field.metadata.get("flag", field.name), section, field)


def make(**values: Any) -> RunConfig:
  """Makes a configuration of settings, by the names of their flags.

  Args:
    **values: settings; lists become tuples, the others keep their defaults.

  Returns:
    The configuration.

  Raises:
    InputError: if a setting is unknown.
  """
  return replace(RunConfig(), **values)


def replace(config: RunConfig, **values: Any) -> RunConfig:
  """Replaces settings, by the names of their flags; see `make`."""
  values = {
    k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
  }
  by_section = {section: {} for section in SECTIONS}
  for setting in settings():
    if setting.name in values:
      value = values.pop(setting.name)
      by_section[setting.section][setting.field.name] = value
  if values:
    raise errors.InputError(
      f"{min(values)!r} is not a setting of this version: see --help."
    )
  changes = by_section.pop("")
  for section, fields in by_section.items():
    if fields:
      changes[section] = dataclasses.replace(getattr(config, section), **fields)
  return dataclasses.replace(config, **changes)


def get(config: RunConfig, setting: Setting) -> Any:
  """Returns the value of a setting."""
  holder = getattr(config, setting.section) if setting.section else config
  return getattr(holder, setting.field.name)


def to_dict(config: RunConfig) -> dict[str, Any]:
  """Returns the settings by the names of their flags, as JSON holds them."""
  values = {s.name: get(config, s) for s in settings()}
  return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def from_dict(values: dict[str, Any]) -> RunConfig:
  """Returns the configuration that `to_dict` wrote.

  Raises:
    InputError: if a setting is unknown.
  """
  values = {k: v for k, v in values.items() if k not in _REMOVED}
  try:
    return make(**values)
  except errors.InputError as error:
    raise errors.InputError(
      f"config.json: {str(error).partition(':')[0]}: it was written by another"
      " version; train again."
    ) from error


def differing(first: RunConfig, second: RunConfig) -> list[str]:
  """Lists the settings that differ, but for those that may change in a run.

  The first configuration may have more epochs than the second.
  """
  names = [
    s.name
    for s in settings()
    if not s.field.metadata.get("free") and get(first, s) != get(second, s)
  ]
  if first.num_epochs > second.num_epochs:
    names.remove("num_epochs")
  return names
