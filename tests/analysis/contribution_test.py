import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import tasks
from btw_jax.analysis import contribution


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_mean_of_equal_predictions_is_that_prediction(name):
  task, rng = tasks.make(name, 3), np.random.default_rng(0)
  outputs = rng.normal(size=(8, task.num_outputs)).astype("f")
  target = {
    "regression": rng.normal(size=8),
    "binary": rng.integers(0, 2, 8),
    "multiclass": rng.integers(0, 3, 8),
    "multilabel": rng.integers(0, 2, (8, 3)),
  }[name]
  one = contribution.quality(task, outputs, target)
  mean = contribution.mean_quality(task, jnp.stack([outputs] * 5), target)
  for a, b in zip(mean, one, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  assert one.score.shape == (8,)
  if name == "regression":
    errors = np.abs(outputs[:, 0] - target)
    np.testing.assert_allclose(one.score, -errors, rtol=1e-5)


def test_probabilities_are_averaged_not_logits():
  task = tasks.make("multiclass", 2)
  outputs = jnp.array([[[9.0, 0.0]], [[0.0, 2.0]]])
  mean = contribution.mean_quality(task, outputs, jnp.array([1]))
  probs = special.softmax(np.asarray(outputs), axis=-1)[:, 0]
  assert mean.likelihood[0] == pytest.approx(np.log(probs[:, 1].mean()))
  # The mean probability of class 0 is above one half.
  assert mean.score[0] == 0 and probs[:, 0].mean() > 0.5
  binary = tasks.make("binary", 2)
  logits = jnp.array([[[9.0]], [[-2.0]]])
  mean = contribution.mean_quality(binary, logits, jnp.array([1]))
  expected = special.expit(np.array([9.0, -2.0])).mean()
  assert mean.likelihood[0] == pytest.approx(np.log(expected), rel=1e-5)
  assert mean.score[0] == float(expected > 0.5)


def test_knowing_nothing_predicts_the_frequencies():
  target = np.array([0, 0, 0, 2])
  quality = contribution.constant_quality(tasks.make("multiclass", 3), target)
  # Class 1 does not occur, and counts as half an example.
  expected = np.log(np.array([3, 3, 3, 1]) / 4.5)
  np.testing.assert_allclose(quality.likelihood, expected, rtol=1e-5)
  np.testing.assert_array_equal(quality.score, [1, 1, 1, 0])
  binary = contribution.constant_quality(
    tasks.make("binary", 2), np.array([1, 1, 1, 0])
  )
  np.testing.assert_allclose(
    binary.likelihood, np.log([0.75, 0.75, 0.75, 0.25]), rtol=1e-5
  )
  values = np.random.default_rng(0).normal(2.0, 3.0, size=50)
  regression = contribution.constant_quality(
    tasks.make("regression", 1), values
  )
  np.testing.assert_allclose(
    regression.likelihood,
    stats.norm.logpdf(values, values.mean(), values.std()),
    rtol=1e-4,
  )
  np.testing.assert_allclose(
    regression.score, -np.abs(values - np.median(values)), rtol=1e-4
  )


def test_modalities_that_are_not_kept_come_from_one_donor():
  rows = contribution.rows_of_set([True, False, False], jnp.array([2, 0, 1]))
  np.testing.assert_array_equal(rows, [[0, 2, 2], [1, 0, 0], [2, 1, 1]])
