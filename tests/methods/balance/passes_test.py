import numpy as np
import pytest
from scipy import special

from btw_jax import tasks
from btw_jax.methods.balance import passes
from support import balances


def test_confidence_in_a_class_is_its_probability():
  rng = np.random.default_rng(0)
  outputs, targets = rng.normal(size=(2, 5, 3)), rng.integers(0, 3, 5)
  expected = special.softmax(outputs, axis=-1)[:, np.arange(5), targets]
  actual = passes.confidence(tasks.make("multiclass", 3), outputs, targets)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_confidence_in_a_label_is_its_probability():
  outputs = np.array([[2.0], [2.0], [-1.0]], np.float32)
  # 1 / (1 + e^-2), its complement, and that of 1 / (1 + e).
  expected = special.expit([2.0, -2.0, 1.0])
  actual = passes.confidence(
    tasks.make("binary", 2), outputs, np.array([1.0, 0.0, 0.0])
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_confidence_in_labels_is_the_geometric_mean_of_probabilities():
  rng = np.random.default_rng(1)
  outputs = rng.normal(size=(6, 3)).astype("f")
  targets = rng.integers(0, 2, (6, 3))
  probs = special.expit(np.where(targets, outputs, -outputs))
  actual = passes.confidence(tasks.make("multilabel", 3), outputs, targets)
  np.testing.assert_allclose(actual, np.cbrt(probs.prod(-1)), rtol=1e-5)


@pytest.mark.parametrize("spread", [-3.0, 0.0, 3.0])
def test_confidence_in_a_value_falls_with_the_error_alone(spread):
  outputs = np.array([[1.0, spread], [1.0, spread], [-0.5, spread]])
  actual = passes.confidence(
    tasks.make("regression", 1), outputs, np.array([1.0, 3.0, 0.0])
  )
  np.testing.assert_allclose(actual, np.exp([0.0, -2.0, -0.5]), rtol=1e-5)


@pytest.mark.training
def test_means_are_over_the_examples_that_have_the_modality():
  forward = balances.forward_of(3)
  embeddings = forward.encode(forward.batch)
  # The second modality is missing in all examples.
  present = forward.batch.present.at[:, 1].set(False)
  forward = balances.with_present(forward, present)
  scores, known = passes.mean_confidence(forward, embeddings)
  target = np.asarray(forward.batch.target)
  for m, subset in enumerate(np.eye(3, dtype=bool)):
    outputs, has = balances.fuse_only(forward, embeddings, subset)
    probs = special.softmax(outputs, axis=-1)[np.arange(12), target]
    assert known[m] == has.any() == (m != 1)
    expected = probs[has].mean() if m != 1 else 0
    np.testing.assert_allclose(scores[m], expected, rtol=1e-5)


@pytest.mark.training
def test_losses_alone_are_those_of_one_modality_and_0_without_it():
  forward = balances.forward_of(3, task="regression")
  embeddings = forward.encode(forward.batch)
  losses = passes.losses_alone(forward, embeddings)
  for m, subset in enumerate(np.eye(3, dtype=bool)):
    outputs, has = balances.fuse_only(forward, embeddings, subset)
    expected = forward.task.loss(outputs, forward.batch.target)
    np.testing.assert_allclose(
      losses[m], np.where(has, expected, 0), rtol=1e-4, atol=1e-6
    )


def test_the_sum_of_the_others_leaves_out_what_is_not_known():
  values, known = np.array([1.0, 20.0, 300.0]), np.array([True, False, True])
  actual = passes.sum_of_others(values, known)
  # An unknown value is 0 everywhere, also in its own difference.
  np.testing.assert_allclose(actual, [300.0, 301.0, 1.0])
