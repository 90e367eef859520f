"""Prediction of whole splits, compiled once per shape of batches."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import chex
import jax
import numpy as np

from btw_jax import types
from btw_jax.parallel import device_map
from btw_jax.parallel import hosts
from btw_jax.parallel import placement
from btw_jax.training import example_source
from btw_jax.training import prediction
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs


class Predictor:
  """Predicts splits with the models of one setting, for all seeds at once."""

  def __init__(self, trainer: trainer_lib.Trainer):
    """Compiles nothing yet."""
    self._trainer, self._programs = trainer, {}

  def __call__(
    self,
    run_params: state_lib.RunParams,
    params: chex.ArrayTree,
    unseen_prior: state_lib.UnseenPrior | None,
    split: types.Split,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Predicts a split; its targets are not read.

    Args:
      run_params: variant, strength and scale of the models.
      params: `[S, ...]`.
      unseen_prior: `[S, ...]`, or None to weigh uniformly.
      split: the examples, in memory or on disk; `unimodal` is `[S, M, N, K]`.

    Returns:
      Outputs `[S, U, N, K]` and the weights used `[S, N, M]`.
    """
    source = example_source.make(split, jax.device_count())
    programs = [
      self._program(params, source.axes, shape) for shape in source.shapes
    ]
    shards = predict_batches(programs, source, params, unseen_prior, run_params)
    return tuple(placement.restore(source.layout, x) for x in shards)

  def _program(self, params, axes, shape):
    """Maps `prediction.predict` over seeds and devices, once per shape."""
    if (axes, shape) not in self._programs:
      trainer = self._trainer.with_num_steps(shape)
      self._programs[axes, shape] = device_map.parallelise(
        jax.vmap(
          functools.partial(prediction.predict, trainer), (0, 0, None, axes)
        ),
        (
          vectorized_runs.params_axes(trainer, params, 1),
          *[device_map.REPLICATED] * 2,
          device_map.SHARDED,
        ),
        device_map.SHARDED,
        how=trainer.parallelism,
      )
    return self._programs[axes, shape]


def predict_batches(
  programs: Sequence[Callable[..., Any]],
  source: example_source.ExampleSource,
  params: chex.ArrayTree,
  unseen_prior: state_lib.UnseenPrior | None,
  run_params: state_lib.RunParams,
) -> tuple[np.ndarray, np.ndarray]:
  """Predicts all batches of a source, each by the program of its shape.

  The programs are mapped `prediction.predict`, one per shape of the source, of
  the other arguments and a batch. Returns outputs `[local devices, ..., U, n,
  K]` and weights `[local devices, ..., n, M]` of this process's examples.
  """
  parts = [
    hosts.local_shards(programs[shape](params, unseen_prior, run_params, split))
    for shape, split in source.batches()
  ]
  return tuple(source.join(x) for x in zip(*parts, strict=True))
