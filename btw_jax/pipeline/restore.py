"""The models of a finished run, restored from its checkpoints."""

from collections.abc import Mapping
import dataclasses

import jax.numpy as jnp

from btw_jax.pipeline import balancing
from btw_jax.pipeline import build
from btw_jax.pipeline import choices as choices_lib
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from btw_jax.training import model_checkpoints
from btw_jax.training import trainer as trainer_lib


@dataclasses.dataclass(frozen=True)
class Models:
  """The trainers and the trained models of both stages.

  Attributes:
    trainers: the trainers.
    unimodal: the models of stage 1.
    multimodal: weighting or balancing method -> the models of stage 2.
    choices: the choices of the run; None for a run of an earlier version.
    balanced: balancing method -> the trainer whose network predicts, where that
      is not `trainers.multimodal`.
  """

  trainers: build.Trainers
  unimodal: model_checkpoints.Unimodal
  multimodal: dict[str, model_checkpoints.Multimodal]
  choices: choices_lib.Choices | None = None
  balanced: Mapping[str, trainer_lib.Trainer] = dataclasses.field(
    default_factory=dict
  )

  def trainer(self, name: str) -> trainer_lib.Trainer:
    """Returns the trainer whose network predicts with the models of a name."""
    return self.balanced.get(name, self.trainers.multimodal)


def load_models(saved: saved_config.SavedConfig) -> Models:
  """Restores the models of both stages, on any number of devices."""
  run_data.check_text_encoder(saved)
  config, shape = saved.config, saved.shape
  devices = dataclasses.replace(config.devices, expert_parallelism=1)
  config = dataclasses.replace(config, devices=devices)
  # The plan gives the names of the checkpoints; its scale does not matter.
  plan = balancing.plan(config)
  trainers = build.build_trainers(
    config, shape, plan.variants, saved.sizes["train"]
  )
  choices = choices_lib.read(config.workdir)
  # A run that was stopped may lack the last ones.
  names = [
    name
    for name in plan.candidates
    if choices is None or name in choices.weightings
  ]
  balanced = balancing.predicting_trainers(trainers, plan, names)
  of_names = {name: balanced.get(name, trainers.multimodal) for name in names}
  for name in names:
    # The gate is trained without weights.
    if choices is not None and choices.is_gated(name):
      of_names[name] = trainers.unweighted
  unimodal, multimodal = build.checkpoint_shapes(
    trainers, shape, config.num_seeds, of_names
  )

  def load_multimodal(name):
    models = model_checkpoints.load(config.workdir, name, multimodal[name])
    if choices is None or not choices.is_gated(name):
      return models
    is_open = jnp.asarray(choices.is_open(shape.modalities))
    run_params = models.run_params._replace(is_open=is_open)
    return models._replace(run_params=run_params)

  return Models(
    trainers,
    model_checkpoints.load(config.workdir, "unimodal", unimodal),
    {name: load_multimodal(name) for name in names},
    choices,
    balanced,
  )
