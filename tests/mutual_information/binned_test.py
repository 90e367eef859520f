import jax
import numpy as np
import pytest
from sklearn import metrics

from btw_jax.mutual_information import binned
from btw_jax.mutual_information import transforms
from support import samples

# Compiling is faster than one operation after the other.
BINNED = jax.jit(binned.binned, static_argnames="num_bins")


@pytest.mark.parametrize("num_bins", [2, 7, 30])
def test_binned_matches_a_histogram(num_bins):
  x, y = samples.correlated(num_bins, 400)
  counts, _, _ = np.histogram2d(x, y, bins=num_bins)
  expected = metrics.mutual_info_score(None, None, contingency=counts)
  np.testing.assert_allclose(
    BINNED(x, y, num_bins=num_bins), expected, rtol=1e-4
  )


def test_binned_ranks_are_bins_of_equal_count():
  x, y = samples.correlated(3, 400)
  cells = [np.argsort(np.argsort(v)) * 8 // 400 for v in (x, y)]
  np.testing.assert_allclose(
    BINNED(*(transforms.uniform_scores(v) for v in (x, y)), num_bins=8),
    metrics.mutual_info_score(*cells),
    rtol=1e-5,
  )


def test_binned_masks_constants_and_errors():
  x, y = samples.correlated(1, 80)
  where = np.random.default_rng(1).random(80) < 0.6
  np.testing.assert_allclose(
    BINNED(np.where(where, x, 1e6), y, num_bins=5, where=where),
    BINNED(x[where], y[where], num_bins=5),
    rtol=1e-5,
  )
  assert abs(BINNED(np.full(80, 0.3), y, num_bins=5)) < 1e-6
  np.testing.assert_allclose(
    BINNED(np.arange(80), np.arange(80), num_bins=5),
    np.log(5),
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match="num_bins=1 is too small"):
    BINNED(x, y, num_bins=1)
  with pytest.raises(ValueError, match="two \\[N\\] arrays"):
    BINNED(x, y[:-1], num_bins=3)
