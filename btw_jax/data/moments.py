"""The mean and spread of features, computed chunk by chunk."""

import numpy as np

from btw_jax.data import dataset as dataset_lib


def valid_rows(
  examples: dataset_lib.Examples, modality: str
) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns the present rows of a modality, one per example or valid step.

  Returns:
    `[n, D]` float64 values, and the `[n, D]` mask of observed ones (None if all
    are observed).
  """
  x, present = examples.features[modality], examples.present[modality]
  if x.ndim == 2:
    return x[present].astype(np.float64), None
  steps = examples.steps[modality]
  valid = steps.inside(x.shape[1]) & present[:, None]
  mask = None if steps.observed is None else steps.observed[valid]
  return x[valid].astype(np.float64), mask


class Moments:
  """The mean and spread of each feature, over rows that come in chunks.

  Chunks are merged as in Chan, Golub & LeVeque (1983), "Algorithms for
  computing the sample variance".

  Attributes:
    count: `[D]` number of values.
    mean: `[D]`, 0 where there is no value.
    squares: `[D]` sum of squared distances from the mean.
    low: `[D]` minimum, infinite where there is no value.
    high: `[D]` maximum, minus infinity where there is no value.
  """

  def __init__(self, width: int):
    """Starts without values, for D = `width` features."""
    self.count, self.mean = np.zeros(width), np.zeros(width)
    self.squares = np.zeros(width)
    self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

  def add(self, values: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Adds a chunk of `[n, D]` values; ignores those whose `mask` is False."""
    if not len(values):
      return
    if mask is None:
      mask = np.broadcast_to(True, values.shape)
    count = mask.sum(axis=0)
    mean = np.where(mask, values, 0).sum(axis=0) / np.maximum(count, 1)
    # The corrected two-pass algorithm: the sum of large values is rounded, and
    # what is left of the distances from its mean shows by how much.
    distances = np.where(mask, values - mean, 0)
    rest = distances.sum(axis=0) / np.maximum(count, 1)
    squares = (distances**2).sum(axis=0) - count * rest**2
    mean = mean + rest
    total = np.maximum(self.count + count, 1)
    # The sums of squares around two means add up to the one around the joint
    # mean plus a term for the distance of the means.
    distance = mean - self.mean
    self.squares += squares + distance**2 * self.count * count / total
    self.mean = self.mean + distance * count / total
    self.count += count
    low, high = np.where(mask, values, np.inf), np.where(mask, values, -np.inf)
    self.low = np.minimum(self.low, low.min(axis=0))
    self.high = np.maximum(self.high, high.max(axis=0))

  @property
  def inverse_std(self) -> np.ndarray:
    """The `[D]` inverse standard deviations; 0 for constant or no values."""
    std = np.sqrt(self.squares / np.maximum(self.count, 1))
    # Rounding leaves a constant feature with a tiny std, hence the extremes.
    varies = (self.low < self.high) & (std > 0)
    return np.where(varies, 1 / np.where(varies, std, 1), 0)

  def overall(self) -> tuple[float, float]:
    """Returns the mean and standard deviation over all features together."""
    number = max(self.count.sum(), 1)
    mean = (self.count * self.mean).sum() / number
    between = self.count * (self.mean - mean) ** 2
    return float(mean), float(np.sqrt((self.squares + between).sum() / number))
