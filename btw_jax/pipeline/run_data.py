"""The data of a run, read as its configuration says."""

from collections.abc import Sequence
import dataclasses
import pathlib

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fingerprints
from btw_jax.data import loading
from btw_jax.data import texts
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import saved_config
from btw_jax.pipeline.pretrained import text_reader


def reading(config: config_lib.RunConfig) -> loading.Reading:
  """Returns whether to read into memory or to stream, and in which shapes."""
  return loading.Reading(config.data.reading, config.data.num_buckets)


def options(config: config_lib.RunConfig) -> catalog.Options:
  """Returns the options of the data set's loader."""
  data = config.data
  return catalog.Options(
    data_dir=data.data_dir,
    modalities=data.modalities,
    task=data.task or None,
    num_train=data.num_train,
    noise_modalities=data.noise_modalities,
    valid_share=data.valid_share,
    average_steps=config.model.encoder == "mean",
    split_by=data.split_by,
    text_reader=text_reader.make(config.text),
    seed=config.seed,
    **{name: getattr(data, name) for name in catalog.TABLE_OPTIONS},
  )


def text_encoder(config: config_lib.RunConfig) -> str:
  """Returns a fingerprint of the text encoder; empty without one."""
  folder = config.text.encoder
  return fingerprints.of_folder(folder) if folder else ""


def check_text_encoder(saved: saved_config.SavedConfig) -> None:
  """Checks that a finished run finds the text encoder it was trained with.

  Raises:
    InputError: if the folder is gone or holds other files.
  """
  config = saved.config
  folder, before = config.text.encoder, saved.shape.text_encoder
  if not folder:
    return
  gone = not pathlib.Path(folder).is_dir()
  if gone or (before and text_encoder(config) != before):
    raise errors.InputError(
      f"{folder}: {'is no folder' if gone else 'holds other files'}, but the"
      f" run was trained with the text encoder there: put it back, or name its"
      f" folder as text_encoder in {config.workdir}/config.json."
    )


def read(
  config: config_lib.RunConfig, loaded: dataset_lib.LoadedSplits | None = None
) -> list[dataset_lib.Dataset]:
  """Reads the data set, once for all seeds or once for each.

  `loaded` holds the splits of a run that was given arrays.

  Raises:
    InputError: if the data is wrong.
  """
  if loaded is not None and config.text.encoder:
    raise errors.InputError(
      "--text_encoder: arrays in memory hold no words: leave it out, and give"
      " the states of the encoder as features."
    )
  names = config.data.modalities
  if config.text.encoder and names and texts.MODALITY not in names:
    raise errors.InputError(
      f"--text_encoder: --modalities={','.join(names)} has no"
      f" {texts.MODALITY!r}: add it, or leave --text_encoder out."
    )
  return loading.read_datasets(
    config.data.dataset,
    options(config),
    config.seeds,
    split_per_seed=config.data.split_per_seed,
    reading=reading(config),
    loaded=loaded,
  )


def read_split(
  saved: saved_config.SavedConfig,
  split: str,
  data_dir: str,
  *,
  labelled: bool = True,
) -> Sequence[dataset_lib.Examples]:
  """Reads a split for the models of a finished run.

  Args:
    saved: the run's `config.json`.
    split: its name.
    data_dir: a folder of other data, or empty for the run's own.
    labelled: whether other data must have targets; otherwise they are left out.

  Returns:
    The examples, one per seed or one for all.

  Raises:
    InputError: if the data does not fit the models.
  """
  config, shape = saved.config, saved.shape
  dataset = config.data.dataset
  if not data_dir:
    return [dataset.splits[split] for dataset in read(config)]
  if not catalog.find(dataset).reads:
    raise errors.InputError(
      f"--data_dir={data_dir}: {dataset} reads no files: leave it out."
    )
  other = dataclasses.replace(
    split_options(saved), data_dir=data_dir, labelled=labelled
  )
  stream = loading.streams(dataset, other, config.seeds, reading(config))
  examples = assembly.load_split(
    dataset,
    dataclasses.replace(other, stream=stream),
    split,
    shape.classes,
  )
  return [fit_shape(saved, examples)]


def split_options(saved: saved_config.SavedConfig) -> catalog.Options:
  """Returns the options to read examples for the models of a finished run.

  Texts that are longer than those trained on lose their end.
  """
  shape, config = saved.shape, saved.config
  longest = dict(zip(shape.modalities, shape.num_steps, strict=True))
  num_tokens = longest.get(texts.MODALITY, 0)
  if config.text.encoder and num_tokens:
    text = dataclasses.replace(config.text, max_tokens=num_tokens)
    config = dataclasses.replace(config, text=text)
  return dataclasses.replace(
    options(config),
    task=shape.task,
    modalities=shape.modalities,
    widths=dict(zip(shape.modalities, shape.widths, strict=True)),
    columns=shape.columns,
  )


def fit_shape(
  saved: saved_config.SavedConfig, examples: dataset_lib.Examples
) -> dataset_lib.Examples:
  """Pads examples to the numbers of steps that the models were trained on.

  Raises:
    InputError: if the examples do not fit the models.
  """
  shape = saved.shape
  # The longest of these sequences may be shorter than the longest trained on.
  examples = examples.padded(
    dict(zip(shape.modalities, shape.num_steps, strict=True))
  )
  for m, modality in enumerate(shape.modalities):
    given = (examples.num_steps[m], examples.widths[m])
    trained = (shape.num_steps[m], shape.widths[m])
    if given != trained:
      raise errors.InputError(
        f"{examples.files[modality]}: modality {modality!r} has"
        f" {checks.describe_shape(given)}, but the model was trained on"
        f" {checks.describe_shape(trained)}: give the same."
      )
  return examples
