"""Mean and spread of features, of examples that come in parts."""

import numpy as np

from btw_jax.data import dataset as dataset_lib


def rows(
  examples: dataset_lib.Examples, modality: str
) -> tuple[np.ndarray, np.ndarray | None]:
  """What there is of a modality, whatever example and step it belongs to.

  Args:
    examples: some examples.
    modality: its name.

  Returns:
    `[n, D]` float64 of the examples that have it, or of their steps; and where
    these were observed, or None if everywhere.
  """
  x, present = examples.features[modality], examples.present[modality]
  if x.ndim == 2:
    return x[present].astype(np.float64), None
  steps = examples.steps[modality]
  there = steps.inside(x.shape[1]) & present[:, None]
  mask = None if steps.observed is None else steps.observed[there]
  return x[there].astype(np.float64), mask


class Moments:
  """Mean and spread of each feature, of rows that come in parts.

  Parts are joined as in Chan, Golub & LeVeque (1983), "Algorithms for computing
  the sample variance".

  Attributes:
    count: `[D]` values that are there.
    mean: `[D]`, 0 where nothing is there.
    squares: `[D]` sum of squared distances from the mean.
    low: `[D]` least value, infinite where nothing is there.
    high: `[D]` greatest value.
  """

  def __init__(self, width: int):
    """Nothing seen yet.

    Args:
      width: features, D.
    """
    self.count, self.mean = np.zeros(width), np.zeros(width)
    self.squares = np.zeros(width)
    self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

  def add(self, values: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Joins a part.

    Args:
      values: `[n, D]`.
      mask: `[n, D]` bool, the values that count; all by default.
    """
    if not len(values):
      return
    if mask is None:
      mask = np.broadcast_to(True, values.shape)
    count = mask.sum(axis=0)
    mean = np.where(mask, values, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(mask, values - mean, 0)
    squares = (squares**2).sum(axis=0)
    total = np.maximum(self.count + count, 1)
    apart = mean - self.mean
    self.squares += squares + apart**2 * self.count * count / total
    self.mean = self.mean + apart * count / total
    self.count += count
    low, high = np.where(mask, values, np.inf), np.where(mask, values, -np.inf)
    self.low = np.minimum(self.low, low.min(axis=0))
    self.high = np.maximum(self.high, high.max(axis=0))

  @property
  def inverse_std(self) -> np.ndarray:
    """`[D]`, 0 where nothing varies, or nothing is there."""
    std = np.sqrt(self.squares / np.maximum(self.count, 1))
    varies = (self.low < self.high) & (std > 0)
    return np.where(varies, 1 / np.where(varies, std, 1), 0)

  def overall(self) -> tuple[float, float]:
    """Mean and standard deviation of the values of all features."""
    number = max(self.count.sum(), 1)
    mean = (self.count * self.mean).sum() / number
    apart = self.count * (self.mean - mean) ** 2
    return float(mean), float(np.sqrt((self.squares + apart).sum() / number))
