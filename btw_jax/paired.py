"""Means over seeds and examples, and standard errors that count both.

Seeds may share examples, and an example that several seeds have is one example,
not several. A gain that a few examples happen to give is therefore not taken
for one that all seeds confirm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
  """A mean and its standard error.

  Attributes:
    value: the mean.
    error: its standard error; infinite if there are not two examples.
    num_examples: the number of distinct examples behind it.
  """

  value: float
  error: float
  num_examples: int


def number_examples(ids: Sequence[np.ndarray], num_seeds: int) -> np.ndarray:
  """Numbers examples by their ids.

  Args:
    ids: `[N]` ids, one array for all seeds or one per seed.
    num_seeds: S.

  Returns:
    `[S, N]` int, the same number for the same id.
  """
  table = np.stack([np.asarray(x).astype(str) for x in ids])
  numbers = np.unique(table, return_inverse=True)[1].reshape(table.shape)
  return np.broadcast_to(numbers, (num_seeds, table.shape[1]))


def over_seeds_and_examples(
  values: np.ndarray, examples: np.ndarray, where: np.ndarray | None = None
) -> Mean:
  """Computes a mean and its standard error over seeds and examples.

  The variance is the two-way cluster-robust one: that over seeds plus that over
  examples minus that over single values, and at least each of the first two.
  Cameron, Gelbach and Miller (2011), "Robust inference with multiway
  clustering". It agrees with a bootstrap that resamples both.

  Args:
    values: `[S, N]`.
    examples: `[S, N]` int, the number of the example behind each value.
    where: `[S, N]` bool, the values that count; all by default.

  Returns:
    The mean; its error is that over examples alone for a single seed.
  """
  values, where = _masked(values, where)
  seeds = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
  mean, deviations = _center(values, where)
  # A single seed adds no variance; a single example tells nothing of others.
  by_seed = _variance(deviations, seeds[where], of_one=0.0)
  by_example = _variance(deviations, examples[where], of_one=np.inf)
  single = _variance(deviations, np.arange(len(deviations)), of_one=0.0)
  variance = max(by_seed + by_example - single, by_seed, by_example)
  number = len(np.unique(examples[where]))
  return Mean(mean, float(np.sqrt(variance)), number)


def over_examples(
  values: np.ndarray, examples: np.ndarray, where: np.ndarray | None = None
) -> Mean:
  """Computes a mean and its standard error over examples, for given seeds.

  The arguments are those of `over_seeds_and_examples`. All values of an example
  are one cluster.
  """
  values, where = _masked(values, where)
  mean, deviations = _center(values, where)
  variance = _variance(deviations, examples[where], of_one=np.inf)
  number = len(np.unique(examples[where]))
  return Mean(mean, float(np.sqrt(variance)), number)


def holm(p_values: Sequence[float]) -> np.ndarray:
  """Corrects p-values for the number of comparisons, by Holm's method.

  The i-th smallest of C p-values is multiplied by C − i + 1, and raised to the
  corrected value before it if that is larger (Holm 1979, "A simple sequentially
  rejective multiple test procedure").

  Args:
    p_values: `[C]`.

  Returns:
    Corrected p-values `[C]`, at most 1.
  """
  p_values = np.asarray(p_values, np.float64)
  order = np.argsort(p_values)
  factors = np.arange(len(order), 0, -1)
  corrected = np.empty(len(order))
  corrected[order] = np.maximum.accumulate(factors * p_values[order])
  return np.minimum(corrected, 1.0)


def _masked(values, where):
  values = np.asarray(values, np.float64)
  if where is None:
    where = np.ones(values.shape, bool)
  return values, np.broadcast_to(where, values.shape)


def _center(values, where):
  counted = values[where]
  mean = float(counted.mean()) if len(counted) else 0.0
  return mean, counted - mean


def _variance(deviations, clusters, of_one):
  """Returns the variance of the mean of `[n]` values in clusters.

  `of_one` is returned if there are not two clusters.
  """
  totals = np.bincount(clusters, deviations)
  number = len(np.unique(clusters))
  if number < 2:
    return of_one
  factor = number / (number - 1)
  return factor * float(np.sum(totals**2)) / len(deviations) ** 2
