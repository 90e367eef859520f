"""Applies every estimator to the tasks whose information is known."""

from collections.abc import Callable, Mapping
import functools

import jax
import numpy as np

from btw_jax.mutual_information import binned
from btw_jax.mutual_information import copula
from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import knn
from btw_jax.mutual_information import transforms
from experiments.benchmarks import known_information

_NUM_BINS = 10


def _gaussian(x, y):
  return correlation.gaussian_information(correlation.pearson(x, y))


# name -> (estimator, transforms that change its estimate)
ESTIMATORS: Mapping[str, tuple[Callable, tuple[str, ...]]] = {
  "knn.ksg, k = 3": (knn.ksg, ("none", "standardise", "rank")),
  "knn.mixture, k = 3": (knn.mixture, ("none", "standardise", "rank")),
  "copula.gaussian_copula": (copula.gaussian_copula, ("none",)),
  f"binned.binned, {_NUM_BINS} bins": (
    functools.partial(binned.binned, num_bins=_NUM_BINS),
    ("none", "rank"),
  ),
  "correlation, Gaussian": (_gaussian, ("none", "rank")),
}


def rows(num_samples: int, num_seeds: int) -> list[dict[str, str]]:
  """Returns a row with the truth, and one per estimator and transform."""
  tasks = known_information.TASKS
  truth = np.array([information for information, _ in tasks.values()])

  def row(name, transform, values, error):
    cells = {task: f"{v:.3f}" for task, v in zip(tasks, values, strict=True)}
    return {"estimator": name, "transform": transform, **cells, "MAE": error}

  table = [row("truth", "", truth, "")]
  x, y = known_information.samples(num_samples, num_seeds)
  for name, (_, transform_names) in ESTIMATORS.items():
    for transform in transform_names:
      values = estimates(name, transform, x, y)
      error = np.mean(np.abs(values - truth))
      table.append(row(name, transform, values.mean(0), f"{error:.4f}"))
  return table


def estimates(
  estimator: str, transform: str, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
  """Estimates the information of `[S, tasks, N]` samples in nats.

  Args:
    estimator: name of an entry of `ESTIMATORS`.
    transform: name of the transform that is applied to x and to y first.
    x: samples, `[S, tasks, N]`.
    y: samples, `[S, tasks, N]`.

  Returns:
    Estimates, `[S, tasks]`.
  """
  function = ESTIMATORS[estimator][0]
  change = transforms.TRANSFORMS[transform]
  mapped = jax.vmap(jax.vmap(lambda x, y: function(change(x), change(y))))
  return np.asarray(jax.jit(mapped)(x, y))
