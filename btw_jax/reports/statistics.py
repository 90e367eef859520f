"""What a comparison over seeds supports, by SciPy where it has it."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

_NUM_RESAMPLES = 9999
# Relative.
_ROUNDING = 1e-9


def interval(
  values: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
  """Bootstrap interval of a mean, by percentiles.

  Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13.

  Args:
    values: `[S]`.
    level: share of resamples inside.
    seed: of what is drawn.

  Returns:
    Lower and upper end; both the mean if values do not differ.
  """
  values = np.asarray(values, np.float64)
  if np.ptp(values) == 0:
    return float(values[0]), float(values[0])
  found = stats.bootstrap(
    (values,),
    np.mean,
    n_resamples=_NUM_RESAMPLES,
    confidence_level=level,
    method="percentile",
    rng=np.random.default_rng(seed),
  ).confidence_interval
  return float(found.low), float(found.high)


def paired_p_value(differences: Sequence[float], *, seed: int = 0) -> float:
  """Two-sided permutation test that paired differences are 0 on average.

  Under the hypothesis each difference may as well have the other sign; all
  signs are tried for up to 13 of them, else some are drawn (Fisher 1935, "The
  design of experiments", section 21).

  Args:
    differences: `[S]`.
    seed: of what is drawn.

  Returns:
    At least `least_p_value(S)`; 1 if there is no difference.
  """
  differences = np.asarray(differences, np.float64)
  if not np.any(differences):
    return 1.0
  found = stats.permutation_test(
    (differences,),
    np.mean,
    permutation_type="samples",
    n_resamples=_NUM_RESAMPLES,
    rng=np.random.default_rng(seed),
  )
  return float(found.pvalue)


def least_p_value(num_seeds: int) -> float:
  """The least that `paired_p_value` can find: all signs alike.

  Args:
    num_seeds: S.

  Returns:
    `2 / 2^S`, or that of as many signs as are drawn.
  """
  return max(2.0 / 2.0**num_seeds, 2.0 / (_NUM_RESAMPLES + 1))


def holm(p_values: Sequence[float]) -> np.ndarray:
  """P-values corrected for their number.

  The i-th least of C is multiplied by C − i + 1, and no less than those before
  it (Holm 1979, "A simple sequentially rejective multiple test procedure").

  Args:
    p_values: `[C]`.

  Returns:
    `[C]`, at most 1.
  """
  p_values = np.asarray(p_values, np.float64)
  order = np.argsort(p_values)
  factors = np.arange(len(order), 0, -1)
  corrected = np.empty(len(order))
  corrected[order] = np.maximum.accumulate(factors * p_values[order])
  return np.minimum(corrected, 1.0)


def spread_p_value(values: Sequence[float], base: Sequence[float]) -> float:
  """Brown–Forsythe test that two samples are equally spread.

  Levene's test about the median; Brown and Forsythe (1974), "Robust tests for
  the equality of variances". It takes the samples for independent.

  Args:
    values: `[S]`.
    base: `[S]`.

  Returns:
    P-value; 1 if distances from the medians do not vary, as those of two values
    do not.
  """
  away = [np.abs(np.subtract(x, np.median(x))) for x in (values, base)]
  if max(map(np.ptp, away)) <= _ROUNDING * max(map(np.max, away)):
    return 1.0
  return float(stats.levene(values, base, center="median").pvalue)


def mean_ranks(scores: np.ndarray) -> np.ndarray:
  """Average rank of each method over data sets, 1 the best; ties share.

  Demšar (2006), "Statistical comparisons of classifiers over multiple data
  sets", section 3.2.

  Args:
    scores: `[data sets, methods]`, more is better.

  Returns:
    `[methods]`.
  """
  return stats.rankdata(-np.asarray(scores), axis=1).mean(axis=0)


def friedman_p_value(scores: np.ndarray) -> float | None:
  """Friedman's test that methods rank alike over data sets.

  Args:
    scores: `[data sets, methods]`, more is better.

  Returns:
    P-value; None for fewer than two data sets or three methods.
  """
  num_sets, num_methods = np.shape(scores)
  if num_sets < 2 or num_methods < 3:
    return None
  return float(stats.friedmanchisquare(*np.transpose(scores)).pvalue)
