"""Tests of what each modality's own model tells, logged by a run."""

from collections.abc import Sequence
from typing import Any

from absl import logging
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.analysis import information_test
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import restore
from btw_jax.training import predictor

# A modality whose outputs vary less than this over examples is constant.
_CONSTANT = 1e-6
# The level of the test: a median p-value below it is more than chance.
_LEVEL = 0.05


def warn_of_constants(train: types.Split, modalities: Sequence[str]) -> None:
  """Warns of modalities whose model predicts a constant."""
  outputs = np.asarray(train.unimodal)
  spread = np.ptp(outputs, axis=2).max(axis=(0, 2))
  for modality, varies in zip(modalities, spread > _CONSTANT, strict=True):
    if not varies:
      logging.warning(
        "modality %r predicts a constant: it tells nothing; leave it out with"
        " --modalities",
        modality,
      )


def test_information(
  models: restore.Models,
  valid: types.Split,
  config: config_lib.RunConfig,
  modalities: Sequence[str],
) -> dict[str, Any]:
  """Tests whether each modality tells more of the prediction than chance.

  The test uses the validation split. On the training split even a modality of
  pure noise tells something: the labels that its model has memorised. The
  models of the first weighting are tested, which is the uniform one if it was
  trained. Returns modality -> name of a figure -> value per seed; empty without
  permutations.
  """
  settings = config.weighting
  if not settings.num_permutations:
    return {}
  name, model = next(iter(models.multimodal.items()))
  outputs, _ = predictor.Predictor(models.trainers.multimodal)(
    model.run_params, model.params, model.unseen_prior, valid
  )
  test = information_test.information_tests(
    models.trainers.task,
    valid.unimodal,
    jnp.asarray(outputs[:, 0]),
    valid.batch.present,
    config.seeds,
    num_permutations=settings.num_permutations,
    transform=settings.knn_transform,
  )
  information = {}
  for m, modality in enumerate(modalities):
    per_seed = [np.asarray(figure)[:, m] for figure in test]
    value, null_mean, null_std = (v.mean() for v in per_seed[:3])
    p_value = np.median(per_seed[3])
    logging.info(
      "modality %r: %.3f nats of information about the predictions of model"
      " %r on validation (by chance %.3f ± %.3f, median p = %.3f): %s",
      modality,
      value,
      name,
      null_mean,
      null_std,
      p_value,
      "more than chance" if p_value < _LEVEL else "no more than chance",
    )
    figures = zip(test._fields, per_seed, strict=True)
    information[modality] = {field: v.tolist() for field, v in figures}
  return information
