"""Tests of what a modality tells: alone, and together with the others.

A modality is exchanged between examples: each example gets that of another one.
If the modality tells nothing of the target, given the others, the loss of a
model stays the same on average. A unimodal model shows what the modality tells
alone, a multimodal model what it loses without the modality. Two modalities may
each tell nothing alone and everything together (exclusive or), so a modality is
idle only if both tests find nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from btw_jax import paired

# The least number of examples of a test that may call a modality idle.
MIN_EXAMPLES = 20
# Rounds of the fit of losses by receiver and donor; it converges by a factor of
# about the number of exchanges in each.
_FIT_ROUNDS = 3


class Rise(NamedTuple):
  """The rise of the loss when a modality is exchanged or absent.

  Attributes:
    rise: `[..., N]` each example's share: the mean is that of the mean loss.
    where: `[..., N]` bool, the examples that count.
  """

  rise: np.ndarray
  where: np.ndarray


class Test(NamedTuple):
  """The one-sided tests that M losses rise.

  Attributes:
    rise: `[M]` mean rise, in the unit of the loss.
    error: `[M]` its standard error; infinite if fewer than two examples count.
    num_examples: `[M]` number of distinct examples.
    p_value: `[M]` p-value of the hypothesis that the loss does not rise.
    corrected: `[M]` p-value, corrected for M modalities.
  """

  rise: np.ndarray
  error: np.ndarray
  num_examples: np.ndarray
  p_value: np.ndarray
  corrected: np.ndarray


def draw_donors(
  rng: np.random.Generator,
  present: np.ndarray,
  num_exchanges: int,
  groups: np.ndarray | None = None,
) -> np.ndarray:
  """Draws the examples that others take a modality from.

  Args:
    rng: random numbers.
    present: `[N]` bool, the examples that have the modality. Only these
      exchange it.
    num_exchanges: K.
    groups: `[N]`, examples exchange only within a group; one group by default.

  Returns:
    `[K, N]` int: permutations, in which no example keeps its own modality if
    another one of its group has it.
  """
  present = np.asarray(present)
  if groups is None:
    groups = np.zeros(len(present), int)
  donors = np.tile(np.arange(len(present)), (num_exchanges, 1))
  for group in np.unique(groups):
    members = np.flatnonzero(present & (groups == group))
    orders = rng.permuted(np.tile(members, (num_exchanges, 1)), axis=1)
    # Each takes the one after it: a single cycle has no fixed point.
    np.put_along_axis(donors, orders, np.roll(orders, 1, axis=1), axis=1)
  return donors


def exchange_rise(
  original: np.ndarray,
  exchanged: np.ndarray,
  donors: np.ndarray,
  present: np.ndarray,
) -> Rise:
  """Computes the rise of a loss when examples exchange one modality.

  Let `L_ij` be the loss of example i with the modality of example j. A rise
  `L_ij − L_ii` varies with the example and with the donor even if the modality
  tells nothing, but this part cancels in the mean over all examples. So `L` is
  fitted by `a_i + b_j`, with b of mean 0, and the share of an example is `a_i +
  b_i − L_ii`. Its mean is that of the rises, and it varies no more than that
  mean does.

  Args:
    original: `[..., N]` losses.
    exchanged: `[..., K, N]` losses with the modality of donors.
    donors: `[..., K, N]` of `draw_donors`.
    present: `[..., N]` bool, the examples that have the modality and count.

  Returns:
    The rise `[..., N]`; 0 for examples without the modality.
  """
  original, exchanged = (
    np.asarray(x, np.float64) for x in (original, exchanged)
  )
  receivers = np.argsort(donors, axis=-1)
  receiver = exchanged.mean(axis=-2)
  for _ in range(_FIT_ROUNDS):
    # The mean over donors stays 0, since each example is a donor once.
    residual = exchanged - receiver[..., None, :]
    donor = np.take_along_axis(residual, receivers, axis=-1).mean(axis=-2)
    of_donors = np.take_along_axis(donor[..., None, :], donors, axis=-1)
    receiver = (exchanged - of_donors).mean(axis=-2)
  rise = receiver + donor - original
  return Rise(np.where(present, rise, 0.0), np.asarray(present))


def absence_rise(
  original: np.ndarray, absent: np.ndarray, where: np.ndarray
) -> Rise:
  """Returns the rise of the loss when a modality is absent.

  `original` and `absent` are `[..., N]` losses with and without the modality,
  `where` is `[..., N]` bool: the examples that have it, and others.
  """
  rise = np.asarray(absent, np.float64) - np.asarray(original)
  return Rise(np.where(where, rise, 0.0), np.asarray(where))


def test(
  rises: Rise, examples: np.ndarray, *, num_exchanges: int | None = None
) -> Test:
  """Tests whether losses rise on average, over examples.

  The models are given; the examples are a sample. An example that several seeds
  have counts once.

  Args:
    rises: arrays `[S, M, N]`, of S seeds and M modalities.
    examples: `[S, N]` int, which example of all a value belongs to.
    num_exchanges: number of exchanges behind the rises. Its K exchanges
      overestimate the variance by `(1 + 2/K) / (1 + 1/K)`, which is corrected.
      None for rises by absence.

  Returns:
    The tests; by Holm's method, corrected for M modalities.
  """
  factor = 1.0
  if num_exchanges is not None:
    factor = np.sqrt((1 + 1 / num_exchanges) / (1 + 2 / num_exchanges))
  means = [
    paired.over_examples(
      np.asarray(rises.rise)[:, m], examples, np.asarray(rises.where)[:, m]
    )
    for m in range(rises.rise.shape[1])
  ]
  rise = np.array([mean.value for mean in means])
  error = factor * np.array([mean.error for mean in means])
  # Without a spread the rise decides, and a rise of 0 tells nothing.
  t = np.where(error > 0, rise / np.where(error > 0, error, 1.0), 0.0)
  t = np.where((error == 0) & (rise > 0), np.inf, t)
  num_examples = np.array([mean.num_examples for mean in means])
  p_value = stats.t.sf(t, np.maximum(num_examples - 1, 1))
  return Test(rise, error, num_examples, p_value, paired.holm(p_value))


def idle(tests: Sequence[Test], level: float = 0.05) -> np.ndarray:
  """Returns `[M]` bool: the modalities for which no test finds anything.

  `level` is that of the corrected p-values. A test of fewer than `MIN_EXAMPLES`
  examples could hardly find anything, so it makes no modality idle.
  """
  return np.all(
    [(t.corrected >= level) & (t.num_examples >= MIN_EXAMPLES) for t in tests],
    axis=0,
  )
