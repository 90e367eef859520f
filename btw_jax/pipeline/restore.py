"""The models of a finished run, restored from its checkpoints."""

import dataclasses

import jax.numpy as jnp

from btw_jax.pipeline import build
from btw_jax.pipeline import choices as choices_lib
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import model_checkpoints
from btw_jax.training import selection


@dataclasses.dataclass(frozen=True)
class Models:
  """The trainers and the trained models of both stages.

  Attributes:
    trainers: the trainers.
    unimodal: the models of stage 1.
    multimodal: weighting -> the models of stage 2.
    choices: the choices of the run; None for a run of an earlier version.
  """

  trainers: build.Trainers
  unimodal: model_checkpoints.Unimodal
  multimodal: dict[str, model_checkpoints.Multimodal]
  choices: choices_lib.Choices | None = None


def load_models(saved: workdir_lib.SavedConfig) -> Models:
  """Restores the models of both stages, on any number of devices."""
  config, shape = saved.config, saved.shape
  devices = dataclasses.replace(config.devices, expert_parallelism=1)
  config = dataclasses.replace(config, devices=devices)
  weighting = config.weighting
  # The plan gives the names of the checkpoints; its scale does not matter.
  plan = selection.plan(weighting.names, weighting.strengths, 1.0)
  trainers = build.build_trainers(
    config, shape, plan.variants, saved.sizes["train"]
  )
  unimodal, multimodal = build.checkpoint_shapes(
    trainers, shape, config.num_seeds
  )
  choices = choices_lib.read(config.workdir)

  def load_multimodal(name):
    if choices is None or not choices.is_gated(name):
      return model_checkpoints.load(config.workdir, name, multimodal)
    # The gate is trained without weights.
    shapes = multimodal._replace(unseen_prior=None)
    models = model_checkpoints.load(config.workdir, name, shapes)
    is_open = jnp.asarray(choices.is_open(shape.modalities))
    run_params = models.run_params._replace(is_open=is_open)
    return models._replace(run_params=run_params)

  return Models(
    trainers,
    model_checkpoints.load(config.workdir, "unimodal", unimodal),
    {name: load_multimodal(name) for name in plan.candidates},
    choices,
  )
