import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import tasks
from btw_jax.data import scaling
from btw_jax.evaluation import evaluate

SCALER = scaling.Scaler(None, None, None, np.float32(50), np.float32(4))


def _outputs(*shape):
  return np.random.default_rng(0).normal(size=shape)


def test_class_probabilities_are_a_softmax():
  task, outputs = tasks.make("multiclass", 3), _outputs(5, 3)
  predicted = evaluate.interpret(task, outputs, SCALER)
  expected = special.softmax(outputs, axis=1)
  np.testing.assert_allclose(predicted.probs, expected, rtol=1e-6)
  np.testing.assert_array_equal(predicted.decision, outputs.argmax(axis=1))
  assert predicted.std is None


def test_a_binary_prediction_has_two_classes():
  task, outputs = tasks.make("binary", 1), _outputs(5, 1)
  predicted = evaluate.interpret(task, outputs, SCALER)
  yes = special.expit(outputs)
  np.testing.assert_allclose(predicted.probs, np.hstack([1 - yes, yes]))
  np.testing.assert_array_equal(predicted.decision, outputs[:, 0] > 0)
  target = np.array([1, 0, 0, 1, 1])
  metrics = evaluate.measure(task, predicted, target)
  expected = -stats.bernoulli.logpmf(target, yes[:, 0]).mean()
  assert metrics["nll"] == pytest.approx(expected)
  assert metrics["accuracy"] == np.mean(predicted.decision == target)


def test_each_of_several_labels_has_a_probability():
  task, outputs = tasks.make("multilabel", 2), _outputs(4, 2)
  predicted = evaluate.interpret(task, outputs, SCALER)
  np.testing.assert_allclose(predicted.probs, special.expit(outputs))
  np.testing.assert_array_equal(predicted.decision, outputs > 0)


@pytest.mark.parametrize("predictive", ["gaussian", "laplace"])
def test_a_regression_is_in_the_unit_of_the_target(predictive):
  task, outputs = tasks.make("regression", 1, predictive), _outputs(6, 2)
  predicted = evaluate.interpret(task, outputs, SCALER)
  mean, spread = task.predict(outputs)
  law = {"gaussian": stats.norm, "laplace": stats.laplace}[predictive]
  law = law(50 + 4 * np.float64(mean), 4 * np.float64(spread))
  np.testing.assert_allclose(predicted.decision, law.mean(), rtol=1e-6)
  np.testing.assert_allclose(predicted.std, law.std(), rtol=1e-6)
  assert predicted.probs is None
  target = np.linspace(40, 60, 6)
  nll = evaluate.measure(task, predicted, target)["nll"]
  assert nll == pytest.approx(-law.logpdf(target).mean(), rel=1e-6)


def test_models_together_predict_the_mixture():
  task = tasks.make("regression", 1)
  parts = [evaluate.interpret(task, _outputs(6, 2) + k, SCALER) for k in (0, 1)]
  pooled = evaluate.pool(task, parts)
  # The moments of a mixture, by a large sample of it.
  rng = np.random.default_rng(1)
  draws = [rng.normal(p.decision, p.std, (200_000, 6)) for p in parts]
  draws = np.concatenate(draws)
  np.testing.assert_allclose(pooled.decision, draws.mean(axis=0), atol=0.1)
  np.testing.assert_allclose(pooled.std, draws.std(axis=0), rtol=0.01)
  task = tasks.make("multiclass", 3)
  parts = [evaluate.interpret(task, _outputs(5, 3) * k, SCALER) for k in (1, 9)]
  pooled = evaluate.pool(task, parts)
  mean = (parts[0].probs + parts[1].probs) / 2
  np.testing.assert_allclose(pooled.probs, mean)
  np.testing.assert_array_equal(pooled.decision, mean.argmax(axis=1))


def test_predictions_of_some_examples_are_taken():
  task = tasks.make("multiclass", 3)
  predicted = evaluate.interpret(task, _outputs(5, 3), SCALER)
  taken = predicted.select(np.array([3, 1]))
  np.testing.assert_array_equal(taken.probs, predicted.probs[[3, 1]])
  np.testing.assert_array_equal(taken.decision, predicted.decision[[3, 1]])
