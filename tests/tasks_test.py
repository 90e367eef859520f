import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import predictions
from btw_jax import tasks

OUTPUTS = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("f")


def test_multiclass():
  task = tasks.make("multiclass", 5)
  target = np.array([0, 4, 2, 1, 1, 3])
  log_probs = special.log_softmax(OUTPUTS, -1)
  expected = -log_probs[:, np.arange(6), target]
  np.testing.assert_allclose(task.loss(OUTPUTS, target), expected, rtol=1e-5)
  np.testing.assert_array_equal(
    task.score(OUTPUTS, target), OUTPUTS.argmax(-1) == target
  )
  assert isinstance(task.predict(OUTPUTS), predictions.Categorical)
  assert (task.num_outputs, task.unit) == (5, "accuracy")


def test_binary_and_multilabel():
  target = np.array([0, 1, 1, 0, 1, 0])
  for name, classes, outputs, labels in (
    ("binary", 1, OUTPUTS[..., :1], target[:, None]),
    ("multilabel", 3, OUTPUTS[..., :3], target[:, None] != [0, 1, 0]),
  ):
    task = tasks.make(name, classes)
    yes = special.expit(outputs)
    expected = -np.log(np.where(labels, yes, 1 - yes)).sum(-1)
    given = target if name == "binary" else labels
    np.testing.assert_allclose(task.loss(outputs, given), expected, rtol=1e-5)
    np.testing.assert_allclose(
      task.score(outputs, given), ((yes > 0.5) == labels).mean(-1), rtol=1e-6
    )
    assert task.num_outputs == classes


def test_a_single_label_matrix_is_not_broadcast():
  task = tasks.make("multilabel", 1)
  outputs, labels = OUTPUTS[0, :, :1], np.ones((6, 1))
  assert task.loss(outputs, labels).shape == (6,)


@pytest.mark.parametrize(
  ("predictive", "law"),
  [("gaussian", stats.norm), ("laplace", stats.laplace)],
)
def test_regression(predictive, law):
  task = tasks.make("regression", 1, predictive)
  outputs, target = OUTPUTS[0, :, :2], OUTPUTS[1, :, 0]
  center, spread = task.predict(outputs)
  nll = -law(center, spread).logpdf(target)
  np.testing.assert_allclose(task.nll(outputs, target), nll, rtol=1e-4)
  error = np.abs(outputs[:, 0] - target)
  np.testing.assert_allclose(task.loss(outputs, target), error + nll, rtol=1e-4)
  np.testing.assert_allclose(task.score(outputs, target), error, rtol=1e-6)


def test_the_mean_learns_from_the_absolute_error_alone():
  task = tasks.make("regression", 1)
  for raw_spread in (-3.0, 0.0, 3.0):
    gradient = jax.grad(task.loss)(jnp.array([2.0, raw_spread]), 0.5)
    assert gradient[0] == 1.0
  # A spread that is too small for the error grows.
  assert jax.grad(task.loss)(jnp.array([2.0, -3.0]), 0.5)[1] < 0


def test_names_are_checked():
  with pytest.raises(ValueError, match="'ordinal': use one of regression"):
    tasks.make("ordinal", 3)
  with pytest.raises(ValueError, match="'cauchy': use one of gaussian"):
    tasks.make("regression", 1, "cauchy")
