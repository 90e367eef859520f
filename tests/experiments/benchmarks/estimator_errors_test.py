import numpy as np
import pytest

from experiments.benchmarks import estimator_errors
from experiments.benchmarks import known_information


@pytest.mark.training
def test_ksg_is_as_near_the_truth_as_it_should_be():
  samples = known_information.samples(1284, 10)
  estimates = estimator_errors.estimates("knn.ksg, k = 3", "none", *samples)
  truths = [truth for truth, _ in known_information.TASKS.values()]
  assert np.mean(np.abs(estimates - truths)) <= 0.038
  # Every task has a small bias, except the one with heavy tails.
  bias = np.abs(estimates.mean(0) - truths)
  assert np.all(np.delete(bias, 7) < 0.06)
