"""The world, the questions and the trainer that a configuration asks for."""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np
import optax
from optax import contrib

from btw_jax import errors
from btw_jax import hooks
from btw_jax import tasks
from btw_jax.data.questions import question_set
from btw_jax.data.questions import vocabulary
from btw_jax.data.questions import world as world_lib
from btw_jax.methods import adversarial
from btw_jax.methods import irrelevant
from btw_jax.methods import masked_training
from btw_jax.methods import mitigation
from btw_jax.methods.balance import base
from btw_jax.methods.balance import catalog
from btw_jax.models.language import network as network_lib
from btw_jax.parallel import device_map
from btw_jax.pipeline.language import config as config_lib
from btw_jax.training import trainer as trainer_lib

# The root mean square of an update of AdamW, to which those of Muon are scaled:
# one learning rate serves both. Liu et al. (2025), "Muon is scalable for LLM
# training".
_ADAMW_RMS = 0.2


@dataclasses.dataclass(frozen=True)
class Setup:
  """The parts of a run of the language model.

  Attributes:
    config: the configuration.
    world: the vocabulary, the layout of a text and the statements.
    trainer: trains the model; its `network` predicts.
  """

  config: config_lib.LanguageConfig
  world: world_lib.World
  trainer: trainer_lib.Trainer

  def questions(
    self, split: str, number: int | None = None, seed: int = 0
  ) -> question_set.QuestionSet:
    """Draws the questions of a split, by default as many as configured."""
    if number is None:
      number = getattr(self.config, f"num_{split}")
    return world_lib.make(
      split,
      number,
      seed,
      tasks=self.config.chosen_tasks,
      audio=self.config.audio,
      data_dir=self.config.data_dir,
    )

  def trimmed(
    self, *questions: question_set.QuestionSet
  ) -> trainer_lib.Trainer:
    """Returns the trainer for texts as long as the longest of some questions.

    A text has room for a statement. Where training puts none there, a shorter
    text saves a fifth of a step, and padding never changes an answer.
    """
    if self.config.mitigation:
      return self.trainer
    longest = max(
      np.max(np.sum(x.tokens != vocabulary.PAD, axis=1)) for x in questions
    )
    network = self.trainer.network.with_num_text(int(longest))
    return dataclasses.replace(self.trainer, network=network)

  @property
  def modalities(self) -> tuple[str, ...]:
    """The names of the modalities."""
    return ("text", "image", "audio")[: len(self.trainer.network.sizes.widths)]


def make(config: config_lib.LanguageConfig) -> Setup:
  """Builds the world and the trainer.

  Raises:
    InputError: if the settings do not fit the devices or the data.
  """
  world = world_lib.describe(config.audio)
  network = network_lib.LanguageNetwork(_sizes(config, world))
  batch_size = _batch_size(config)
  num_steps = max(1, config.num_train // batch_size) * config.num_epochs
  trainer = trainer_lib.Trainer(
    network,
    tasks.make("multiclass", network.sizes.num_outputs),
    _optimizer(config, num_steps),
    batch_size,
    max_norm=config.max_norm or None,
    hook=_hook(config, network, world, batch_size),
    parallelism=device_map.Parallelism(config.parallelism),
  )
  return Setup(config, world, trainer)


def _sizes(config, world):
  return network_lib.LanguageSizes(
    num_text=world.num_tokens,
    vocab_size=len(world.vocabulary),
    image_shape=world.image_shape,
    patch_size=world.patch_size,
    audio_shape=world.audio_shape,
    frames_per_token=world.frames_per_token,
    embedding_dim=config.embedding_dim,
    hidden_dim=config.hidden_dim,
    num_layers=config.num_layers,
    num_heads=config.num_heads,
    num_kv_heads=config.num_kv_heads,
    tower_layers=config.tower_layers,
    tied=config.tied,
    num_steps=() if world.audio_shape is None else world.audio_shape[:1],
  )


def _batch_size(config):
  devices = jax.device_count()
  if config.batch_size % devices or config.batch_size > config.num_train:
    raise errors.InputError(
      f"--batch_size={config.batch_size}: give a multiple of the {devices}"
      f" devices that is at most --num_train={config.num_train}."
    )
  return config.batch_size


def _optimizer(config, num_steps):
  schedule = optax.warmup_cosine_decay_schedule(
    0.0,
    config.learning_rate,
    round(config.warmup_share * num_steps),
    num_steps,
  )
  if config.optimizer == "adamw":
    return optax.adamw(schedule, weight_decay=config.weight_decay)
  return contrib.muon(
    schedule,
    weight_decay=config.weight_decay,
    adam_weight_decay=config.weight_decay,
    muon_weight_dimension_numbers=_of_muon,
    consistent_rms=_ADAMW_RMS,
  )


def _of_muon(params):
  """Returns the axes of the kernels of layers, and None for other leaves.

  Embeddings, the head and vectors are left to AdamW, as is usual with Muon.
  """

  def axes(path, leaf):
    del leaf
    is_kernel = path[-1].key == "kernel" and path[0].key != "head"
    return contrib.MuonDimensionNumbers(0, 1) if is_kernel else None

  return jax.tree_util.tree_map_with_path(axes, params)


def _hook(config, network, world, batch_size):
  """Chains what the configuration changes of a step."""
  parts: list[hooks.Hook] = []
  if config.mask_share:
    parts.append(masked_training.MaskedTraining(config.mask_share))
  if config.balance:
    parts.append(_balance(config, network, batch_size))
  if config.mitigation:
    parts.append(_mitigation(config, world))
  if len(parts) == 1:
    return parts[0]
  return hooks.Chain(parts) if parts else hooks.Hook()


def _balance(config, network, batch_size):
  method = catalog.load(config.balance)
  reason = method.check(network, batch_size)
  if reason:
    raise errors.InputError(f"--balance={config.balance}: {reason}.")
  return method.make(
    base.Setup(
      num_modalities=len(network.sizes.widths),
      embedding_dim=config.embedding_dim,
      seeds=config.seeds,
    )
  )


def _mitigation(config, world):
  """Makes the hook against interference, as `pipeline.mitigations` does."""
  methods: Sequence[str] = config.mitigation
  views, only_consistency = [], methods == ("consistency",)
  if "heuristic" in methods or only_consistency:
    views.append(irrelevant.IrrelevantReplaced(world.statements))
  if "adversarial" in methods:
    views.append(
      adversarial.Adversarial(
        config.adversarial_radius,
        config.adversarial_rate,
        config.adversarial_steps,
        signed=False,
      )
    )
  return mitigation.Mitigation(
    views,
    augmented=0.0 if only_consistency else 1.0,
    consistency=(
      config.consistency_weight if "consistency" in methods else 0.0
    ),
    divergence=config.consistency_kind,
  )
