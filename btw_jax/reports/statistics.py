"""Statistical tests of paired results over seeds, mostly from SciPy."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

_NUM_RESAMPLES = 9999
# Distances that differ by less than this share of their size count as equal:
# the rest is rounding.
_ROUNDING = 1e-9


def interval(
  values: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
  """Computes a percentile bootstrap interval of a mean.

  Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13.

  Args:
    values: `[S]`.
    level: the share of resampled means inside the interval.
    seed: seed of the resampling.

  Returns:
    The lower and the upper end; both are the mean if all values are equal.
  """
  values = np.asarray(values, np.float64)
  if np.ptp(values) == 0:
    return float(values[0]), float(values[0])
  bounds = stats.bootstrap(
    (values,),
    np.mean,
    n_resamples=_NUM_RESAMPLES,
    confidence_level=level,
    method="percentile",
    rng=np.random.default_rng(seed),
  ).confidence_interval
  return float(bounds.low), float(bounds.high)


def paired_p_value(differences: Sequence[float], *, seed: int = 0) -> float:
  """Tests whether paired differences are 0 on average (permutation test).

  Under the null hypothesis the sign of every difference is arbitrary. The test
  is two-sided. It tries all signs of up to 13 differences and samples the signs
  of more (Fisher 1935, "The design of experiments", section 21).

  Args:
    differences: `[S]`.
    seed: seed of the sampled signs.

  Returns:
    The p-value, at least `least_p_value(S)`; 1 if all differences are 0.
  """
  differences = np.asarray(differences, np.float64)
  if not np.any(differences):
    return 1.0
  test = stats.permutation_test(
    (differences,),
    np.mean,
    permutation_type="samples",
    n_resamples=_NUM_RESAMPLES,
    rng=np.random.default_rng(seed),
  )
  return float(test.pvalue)


def least_p_value(num_seeds: int) -> float:
  """Returns the smallest p-value that `paired_p_value` can give for S seeds.

  All differences then have the same sign. The p-value is `2 / 2^S`, or limited
  by the number of sampled signs.
  """
  # Resampling counts the observed signs as one more sample.
  return max(2.0 / 2.0**num_seeds, 2.0 / (_NUM_RESAMPLES + 1))


def spread_p_value(values: Sequence[float], base: Sequence[float]) -> float:
  """Tests whether two samples have equal spread, by the Brown–Forsythe test.

  This is Levene's test about the median; Brown and Forsythe (1974), "Robust
  tests for the equality of variances". It assumes independent samples.

  Args:
    values: `[S]`.
    base: `[S]`, the sample to compare with.

  Returns:
    The p-value; 1 if the distances from the median are all equal within each
    sample, as they always are for two values.
  """
  distances = [np.abs(np.subtract(x, np.median(x))) for x in (values, base)]
  # The F statistic would divide by zero.
  if max(map(np.ptp, distances)) <= _ROUNDING * max(map(np.max, distances)):
    return 1.0
  return float(stats.levene(values, base, center="median").pvalue)


def mean_ranks(scores: np.ndarray) -> np.ndarray:
  """Averages the rank of each method over data sets; rank 1 is the best.

  Tied methods share their mean rank. Demšar (2006), "Statistical comparisons of
  classifiers over multiple data sets", section 3.2.

  Args:
    scores: `[data sets, methods]`; higher is better.

  Returns:
    Mean ranks `[methods]`.
  """
  return stats.rankdata(-np.asarray(scores), axis=1).mean(axis=0)


def friedman_p_value(scores: np.ndarray) -> float | None:
  """Tests whether all methods have the same mean rank, by Friedman's test.

  Args:
    scores: `[data sets, methods]`; higher is better.

  Returns:
    The p-value; None with fewer than two data sets or three methods.
  """
  num_sets, num_methods = np.shape(scores)
  if num_sets < 2 or num_methods < 3:
    return None
  return float(stats.friedmanchisquare(*np.transpose(scores)).pvalue)
