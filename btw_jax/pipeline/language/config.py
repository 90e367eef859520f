"""The configuration of a run of the language model.

Every field is a setting with a default, a help text and its bounds or choices;
`experiments.train_language` makes a flag of each. This module imports nothing
heavy, since every program reads it before it answers.
"""

import dataclasses
from typing import Any

from btw_jax import errors
from btw_jax.pipeline import config_sections as sections

# The tasks of the world, as `data.questions.tasks` names them; a test holds
# both lists together.
PICTURE_TASKS = (
  "shown", "arithmetic", "compare", "add",
  "shown_choice", "arithmetic_choice", "compare_choice",
)  # fmt: skip
SOUND_TASKS = ("spoken", "seen", "same", "both_sum")
TASKS = (*PICTURE_TASKS, *SOUND_TASKS)
AUDIO = ("none", "tones", "spoken")
OPTIMIZERS = ("adamw", "muon")
# The methods of `methods.balance` that can train the language model: those that
# need neither unimodal models nor a network of their own.
BALANCES = (
  "unimodal_losses", "ogm", "ogm_ge", "agm", "opm", "modality_dropout",
  "gblend", "valuation",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
  """The configuration of a run.

  A run may be resumed with other values of the settings marked `free`.
  """

  workdir: str = sections.field(
    "runs/questions", "folder of the run's files", free=True, title="Run"
  )
  num_seeds: int = sections.field(1, "number of seeds, trained together", low=1)
  seed: int = sections.field(0, "first seed", low=0, high=10**9)
  resume: bool = sections.field(
    True, "resume a run that was stopped, if the workdir holds one", free=True
  )
  snapshot_seconds: int = sections.field(
    60, "least number of seconds between snapshots", low=0, free=True
  )
  start: str = sections.field(
    "", "run to start from, with the same seeds and model"
  )
  num_epochs: int = sections.field(20, "number of epochs", low=1)
  batch_size: int = sections.field(
    64, "questions of a step, over all devices", low=1
  )
  optimizer: str = sections.field(
    "adamw",
    "AdamW, or Muon for the kernels of layers and AdamW for the rest",
    choices=OPTIMIZERS,
  )
  learning_rate: float = sections.field(2e-3, "largest learning rate", low=0.0)
  warmup_share: float = sections.field(
    0.1,
    "share of the steps in which the learning rate grows; then it falls",
    low=0.0,
    high=0.9,
  )
  weight_decay: float = sections.field(
    0.01, "weight decay of either optimizer", low=0.0
  )
  max_norm: float = sections.field(
    1.0, "largest norm of a gradient; 0 does not clip", low=0.0
  )
  parallelism: str = sections.field(
    "pmap",
    "how the program is mapped over devices",
    choices=sections.MAPPINGS,
    free=True,
  )

  tasks: tuple[str, ...] = sections.field(
    (),
    f"tasks of the world, all if empty: {' | '.join(PICTURE_TASKS)}; with"
    f" audio also {' | '.join(SOUND_TASKS)}",
    each=TASKS,
    optional=True,
    title="Questions",
  )
  audio: str = sections.field(
    "tones",
    "sounds: none, synthetic tones, or the digits in --data_dir",
    choices=AUDIO,
  )
  data_dir: str = sections.field("", "folder of the spoken digits")
  num_train: int = sections.field(
    20_000, "number of training questions", low=100
  )
  num_valid: int = sections.field(
    1_200, "number of validation questions", low=100
  )
  num_test: int = sections.field(2_400, "number of test questions", low=100)

  embedding_dim: int = sections.field(
    64, "number of units of an embedding", low=4, title="Model"
  )
  hidden_dim: int = sections.field(
    176, "number of hidden units of a layer", low=1
  )
  num_layers: int = sections.field(4, "number of layers of the decoder", low=1)
  num_heads: int = sections.field(4, "number of attention heads", low=1)
  num_kv_heads: int = sections.field(
    2, "heads of keys and values, a divisor of --num_heads", low=1
  )
  tower_layers: int = sections.field(
    2, "number of layers of the vision and audio towers", low=0
  )
  tied: bool = sections.field(
    True, "share the embeddings of words with the head"
  )

  mask_share: float = sections.field(
    0.1,
    "share of the questions that have one modality masked",
    low=0.0,
    high=0.9,
    title="Training",
  )
  mitigation: tuple[str, ...] = sections.field(
    (),
    "training against interference: heuristic (copies with an irrelevant"
    " modality replaced), adversarial (embeddings of it that increase the"
    " loss), consistency (with the answers to these)",
    each=sections.MITIGATIONS,
    optional=True,
  )
  adversarial_radius: float = sections.field(
    1e-3,
    "largest move of an embedding, in standard deviations of its modality's"
    " embeddings",
    low=0.0,
  )
  adversarial_rate: float = sections.field(
    0.1, "step of the ascent by the gradient, as a share of the radius", low=0.0
  )
  adversarial_steps: int = sections.field(
    2, "number of steps of the ascent", low=0
  )
  consistency_weight: float = sections.field(
    0.01, "factor of the consistency loss", low=0.0
  )
  consistency_kind: str = sections.field(
    "kl",
    "consistency loss: KL(perturbed || clean), or Jensen-Shannon",
    choices=("kl", "js"),
  )
  balance: str = sections.field(
    "", "method that balances modalities", choices=("", *BALANCES)
  )

  def __post_init__(self):
    """Refuses settings that do not fit each other."""
    for name in ("num_heads", "num_kv_heads"):
      whole = ("embedding_dim", "num_heads")[name == "num_kv_heads"]
      if getattr(self, whole) % getattr(self, name):
        raise errors.InputError(
          f"--{name}={getattr(self, name)}: does not divide"
          f" --{whole}={getattr(self, whole)}: give a divisor."
        )
    if self.embedding_dim // self.num_heads % 2:
      raise errors.InputError(
        f"--num_heads={self.num_heads}: rotary positions need an even number of"
        f" units per head, and --embedding_dim={self.embedding_dim} gives"
        f" {self.embedding_dim // self.num_heads}: change one of them."
      )
    sounds = [task for task in self.tasks if task in SOUND_TASKS]
    if sounds and self.audio == "none":
      raise errors.InputError(
        f"--tasks={sounds[0]}: needs sounds: set --audio=tones, or leave it"
        " out."
      )
    if self.audio == "spoken" and not self.data_dir:
      raise errors.InputError(
        "--audio=spoken: set --data_dir to the folder of the spoken digits."
      )

  @property
  def seeds(self) -> list[int]:
    """The seeds, one run each."""
    return list(range(self.seed, self.seed + self.num_seeds))

  @property
  def chosen_tasks(self) -> tuple[str, ...]:
    """The tasks of the world."""
    return self.tasks or (PICTURE_TASKS if self.audio == "none" else TASKS)


def groups() -> dict[str, list[str]]:
  """Returns title -> names of settings, in the order of the help."""
  return sections.titled(LanguageConfig)


def to_dict(config: LanguageConfig) -> dict[str, Any]:
  """Returns the settings as JSON holds them."""
  return sections.to_json(config)


def from_dict(values: dict[str, Any]) -> LanguageConfig:
  """Returns the configuration that `to_dict` wrote.

  Raises:
    InputError: if a setting is unknown.
  """
  known = {field.name for field in dataclasses.fields(LanguageConfig)}
  unknown = set(values) - known
  if unknown:
    raise errors.InputError(
      f"config.json: {min(unknown)!r} is not a setting of this version: train"
      " again."
    )
  return LanguageConfig(
    **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
  )


def differing(first: LanguageConfig, second: LanguageConfig) -> list[str]:
  """Lists the settings that differ, but for those that may change in a run."""
  return [
    field.name
    for field in dataclasses.fields(LanguageConfig)
    if not field.metadata.get("free")
    and getattr(first, field.name) != getattr(second, field.name)
  ]
