"""Models and data of a run that is finished."""

from collections.abc import Sequence
import dataclasses

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.pipeline import build
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import model_checkpoints
from btw_jax.training import selection


def load(
  written: workdir_lib.SavedConfig,
) -> tuple[
  build.Trainers,
  model_checkpoints.Unimodal,
  dict[str, model_checkpoints.Multimodal],
]:
  """Restores the models of both stages.

  Args:
    written: what the run's `config.json` holds.

  Returns:
    Trainers, stage 1, and weighting -> stage 2.
  """
  config, shape = written.config, written.shape
  # Whatever devices there were in training.
  config = dataclasses.replace(config, expert_parallelism=1)
  plan = _plan(config)
  trainers = build.build(config, shape, plan.variants, written.sizes["train"])
  like = build.like(trainers, shape, config.num_seeds)
  unimodal = model_checkpoints.load(config.workdir, "unimodal", like[0])
  multimodal = {
    name: model_checkpoints.load(config.workdir, name, like[1])
    for name in plan.candidates
  }
  return trainers, unimodal, multimodal


def read_examples(
  written: workdir_lib.SavedConfig, split: str, data_dir: str
) -> Sequence[dataset_lib.Examples]:
  """The examples to evaluate on.

  Args:
    written: what the run's `config.json` holds.
    split: its name.
    data_dir: a folder of other data, or empty for the run's own.

  Returns:
    One per seed, or one for all.

  Raises:
    InputError: if the data does not fit the model.
  """
  config, shape = written.config, written.shape
  if not data_dir:
    return [dataset.splits[split] for dataset in config.read_datasets()]
  if not catalog.find(config.dataset).reads:
    raise errors.InputError(
      f"--data_dir={data_dir}: {config.dataset} reads no files: leave it out."
    )
  options = dataclasses.replace(
    config.source_options(),
    data_dir=data_dir,
    task=shape.task,
    modalities=shape.modalities,
  )
  stream = loading.streams(
    config.dataset, options, config.seeds, config.how_to_read()
  )
  examples = catalog.load_split(
    config.dataset,
    dataclasses.replace(options, stream=stream),
    split,
    shape.num_classes,
  )
  # The longest of these may be shorter than the longest trained on.
  examples = examples.padded(
    dict(zip(shape.modalities, shape.num_steps, strict=True))
  )
  for m, modality in enumerate(shape.modalities):
    found = (examples.num_steps[m], examples.widths[m])
    trained = (shape.num_steps[m], shape.widths[m])
    if found != trained:
      raise errors.InputError(
        f"{examples.files[modality]}: modality {modality!r} has"
        f" {checks.in_words(found)}, but the model was trained on"
        f" {checks.in_words(trained)}: give the same."
      )
  return [examples]


def _plan(config):
  """The runs that stage 2 was made of; their scale does not matter here."""
  return selection.plan(config.weighting, config.strengths, 1.0)
