"""The models of a finished run, and examples to ask them about."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import os
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import interventions
from btw_jax import types
from btw_jax.data import loading
from btw_jax.pipeline import build
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import mitigations
from btw_jax.pipeline import restore
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import loop
from btw_jax.training import model_checkpoints


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """What is asked, and about what.

  Attributes:
    written: what the run's `config.json` holds.
    trainers: of both stages.
    unimodal: stage 1.
    multimodal: weighting -> stage 2.
    batch: the examples, `[N, ...]`, or `[S, N, ...]` where seeds have their
      own.
    ids: of the examples, one array for all seeds or one for each.
  """

  written: workdir_lib.SavedConfig
  trainers: build.Trainers
  unimodal: model_checkpoints.Unimodal
  multimodal: Mapping[str, model_checkpoints.Multimodal]
  batch: types.Batch
  ids: Sequence[np.ndarray]

  @functools.cached_property
  def split(self) -> types.Split:
    """The examples with what the unimodal models say of them."""
    return self.complete(self.batch)

  @functools.cached_property
  def usual(self) -> interventions.FeatureStats:
    """Of the scaled features of training, `[M, D]` or `[S, M, D]`."""
    return mitigations.feature_stats(self.unimodal.scalers)

  @property
  def groups(self) -> Sequence[Sequence[int]]:
    """Modalities that come in steps."""
    return self.trainers.unimodal.network.sizes.groups

  def complete(self, batch: types.Batch) -> types.Split:
    """Examples with what the unimodal models say of them.

    Args:
      batch: like `batch`.

    Returns:
      The split, outputs `[S, M, N, K]`.
    """
    return evaluation.with_unimodal(
      self._predict_unimodal, self.unimodal.params, batch
    )

  def answer(
    self, weighting: str, split: types.Split
  ) -> tuple[jax.Array, np.ndarray]:
    """What the multimodal models of a weighting say.

    Args:
      weighting: its name.
      split: as `complete` gives it.

    Returns:
      Outputs `[S, N, K]`, and the weights used `[S, N, M]`.
    """
    model = self.multimodal[weighting]
    outputs, weights = self._predict(
      model.cell, model.params, model.guide, split
    )
    return jnp.asarray(outputs[:, 0]), weights

  def intervene(
    self, kind: str, modalities: Sequence[int], key: chex.PRNGKey
  ) -> types.Split:
    """The examples, some of their modalities intervened on.

    Args:
      kind: a name of `interventions.KINDS`.
      modalities: their positions.
      key: of what is drawn.

    Returns:
      The split, with what the unimodal models say of it.
    """
    number = list(interventions.KINDS).index(kind)
    places = np.arange(self.batch.present.shape[-1])
    chosen = np.where(np.isin(places, modalities), number, -1)
    return self.complete(self._intervene(self.batch, chosen, key, self.usual))

  @functools.cached_property
  def _intervene(self):
    classes_of = self.trainers.task.classes

    def of_seed(batch, chosen, key, usual):
      return interventions.intervene(
        batch,
        jnp.broadcast_to(chosen, batch.present.shape),
        key,
        usual,
        classes=classes_of(batch.target),
        groups=self.groups,
      )

    if self.batch.present.ndim == 2:
      return jax.jit(of_seed)

    def of_all(batch, chosen, key, usual):
      keys = jax.random.split(key, len(batch.present))
      axes = (0, None, 0, 0 if usual.mean.ndim == 3 else None)
      return jax.vmap(of_seed, axes)(batch, chosen, keys, usual)

    return jax.jit(of_all)

  @functools.cached_property
  def _predict_unimodal(self):
    return loop.Predictor(self.trainers.unimodal)

  @functools.cached_property
  def _predict(self):
    return loop.Predictor(self.trainers.multimodal)


def load(workdir: str | os.PathLike, split: str, data_dir: str) -> FinishedRun:
  """A run's models, and one of its splits or other data.

  Args:
    workdir: folder of the run.
    split: name of the split.
    data_dir: a folder of other data, or empty for the run's own.

  Returns:
    The subject.

  Raises:
    InputError: if there is no such run, or the data does not fit its models.
  """
  written = workdir_lib.read(pathlib.Path(workdir))
  config = dataclasses.replace(
    written.config, workdir=str(workdir), reading="memory"
  )
  written = dataclasses.replace(written, config=config)
  trainers, unimodal, multimodal = restore.load(written)
  examples = restore.read_examples(written, split, data_dir)
  scalers = [jax.tree.map(np.asarray, s) for s in unimodal.scalers]
  batch = loading.stack(examples, scalers, config.how_to_read())
  unimodal = unimodal._replace(scalers=scalers)
  ids = [own.ids for own in examples]
  return FinishedRun(written, trainers, unimodal, multimodal, batch, ids)
