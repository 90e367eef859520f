"""A finished run: its models, and examples to predict with them."""

from collections.abc import Sequence
import dataclasses
import functools
import os

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import interventions
from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import mitigations
from btw_jax.pipeline import restore
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from btw_jax.training import predictor


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """The models of a finished run, and the examples of a split.

  Attributes:
    saved: the run's `config.json`.
    models: of both stages.
    batch: the examples, `[N, ...]`, or `[S, N, ...]` where seeds have their
      own.
    ids: of the examples, one array for all seeds or one for each.
  """

  saved: saved_config.SavedConfig
  models: restore.Models
  batch: types.Batch
  ids: Sequence[np.ndarray]

  @property
  def modalities(self) -> tuple[str, ...]:
    """The names of the modalities."""
    return self.saved.shape.modalities

  @property
  def seeds(self) -> list[int]:
    """The seeds of the run."""
    return self.saved.config.seeds

  @property
  def weightings(self) -> list[str]:
    """The weightings that the run has models of."""
    return list(self.models.multimodal)

  @property
  def task(self):
    """The task."""
    return self.models.trainers.task

  @functools.cached_property
  def split(self) -> types.Split:
    """The examples with the outputs of the unimodal models."""
    return self.with_unimodal(self.batch)

  @functools.cached_property
  def feature_stats(self) -> interventions.FeatureStats:
    """The statistics of scaled training features, `[M, D]` or `[S, M, D]`."""
    return mitigations.feature_stats(self.models.unimodal.scalers)

  @property
  def groups(self) -> Sequence[Sequence[int]]:
    """The positions of sequence modalities, by shape."""
    return self.models.trainers.unimodal.network.sizes.groups

  def with_unimodal(self, batch: types.Batch) -> types.Split:
    """Adds the unimodal models' outputs `[S, M, N, K]` to a batch."""
    return evaluation.with_unimodal(
      self._predict_unimodal, self.models.unimodal.params, batch
    )

  def predict(
    self, weighting: str, split: types.Split
  ) -> tuple[jax.Array, np.ndarray]:
    """Predicts a split of `with_unimodal` with the models of a weighting.

    Returns outputs `[S, N, K]` and the weights used `[S, N, M]`.
    """
    outputs, weights = self._predict_multimodal(weighting, split)
    return jnp.asarray(outputs), weights

  def to_target_unit(self, scores: np.ndarray) -> np.ndarray:
    """Turns errors `[S, ...]` of standardised targets into the target's unit.

    Other scores stay as they are.
    """
    if self.task.unit != "mae":
      return scores
    scale = np.array([s.target_std for s in self.models.unimodal.scalers])
    return scores * scale.reshape(-1, *[1] * (np.ndim(scores) - 1))

  def intervene(
    self, kind: str, modalities: Sequence[int], key: chex.PRNGKey
  ) -> types.Split:
    """Intervenes by a kind on the modalities at some positions.

    Returns the split, with the unimodal models' outputs for it.
    """
    number = list(interventions.KINDS).index(kind)
    places = np.arange(self.batch.present.shape[-1])
    chosen = np.where(np.isin(places, modalities), number, -1)
    return self.with_unimodal(
      self._intervene(self.batch, chosen, key, self.feature_stats)
    )

  @functools.cached_property
  def _intervene(self):
    to_classes = self.task.classes

    def intervene_seed(batch, chosen, key, feature_stats):
      return interventions.intervene(
        batch,
        jnp.broadcast_to(chosen, batch.present.shape),
        key,
        feature_stats,
        classes=to_classes(batch.target),
        groups=self.groups,
      )

    if self.batch.present.ndim == 2:
      return jax.jit(intervene_seed)

    def intervene_seeds(batch, chosen, key, feature_stats):
      keys = jax.random.split(key, len(batch.present))
      axes = (0, None, 0, 0 if feature_stats.mean.ndim == 3 else None)
      return jax.vmap(intervene_seed, axes)(batch, chosen, keys, feature_stats)

    return jax.jit(intervene_seeds)

  @functools.cached_property
  def _predict_unimodal(self):
    return predictor.Predictor(self.models.trainers.unimodal)

  @functools.cached_property
  def _predict_multimodal(self):
    return evaluation.MultimodalPredictor(self.models)


def load(
  workdir: str | os.PathLike,
  split: str,
  data_dir: str = "",
  *,
  labelled: bool = True,
) -> FinishedRun:
  """Loads a finished run with one of its splits, or with other data.

  Args:
    workdir: folder of the run.
    split: name of the split.
    data_dir: a folder of other data, or empty for the run's own.
    labelled: whether other data must have targets; otherwise they are left out.

  Returns:
    The run.

  Raises:
    InputError: if there is no such run, or the data does not fit its models.
  """
  saved, models = load_models(workdir)
  examples = run_data.read_split(saved, split, data_dir, labelled=labelled)
  return with_examples(saved, models, examples)


def load_models(
  workdir: str | os.PathLike,
) -> tuple[saved_config.SavedConfig, restore.Models]:
  """Loads the configuration and the models of a finished run.

  Raises:
    InputError: if there is no such run.
  """
  saved = saved_config.read(workdir)
  config = config_lib.replace(saved.config, reading="memory")
  saved = dataclasses.replace(saved, config=config)
  models = restore.load_models(saved)
  scalers = [jax.tree.map(np.asarray, s) for s in models.unimodal.scalers]
  unimodal = models.unimodal._replace(scalers=scalers)
  return saved, dataclasses.replace(models, unimodal=unimodal)


def with_examples(
  saved: saved_config.SavedConfig,
  models: restore.Models,
  examples: Sequence[dataset_lib.Examples],
) -> FinishedRun:
  """Returns a run of loaded models with examples, one for all seeds or each."""
  reading = run_data.reading(saved.config)
  batch = loading.stack(examples, models.unimodal.scalers, reading)
  return FinishedRun(saved, models, batch, [e.ids for e in examples])
