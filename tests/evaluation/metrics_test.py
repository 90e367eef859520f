import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from btw_jax.evaluation import metrics


def test_classification():
  rng = np.random.default_rng(0)
  probs = rng.dirichlet(np.ones(3), 200)
  target = rng.integers(0, 3, 200)
  values = metrics.classification(probs, target)
  assert values["accuracy"] == np.mean(probs.argmax(1) == target)
  assert values["nll"] == pytest.approx(sklearn_metrics.log_loss(target, probs))
  assert values["auroc"] == pytest.approx(
    sklearn_metrics.roc_auc_score(target, probs, multi_class="ovr")
  )
  assert values["f1"] == pytest.approx(
    sklearn_metrics.f1_score(target, probs.argmax(1), average="macro")
  )


def test_labels():
  rng = np.random.default_rng(1)
  # The rounding creates ties.
  probs = np.round(rng.uniform(0.02, 0.98, (150, 2)), 2)
  target = (rng.random((150, 2)) < probs).astype(int)
  values = metrics.labels(probs, target)
  assert values["nll"] == pytest.approx(
    sum(sklearn_metrics.log_loss(target[:, c], probs[:, c]) for c in range(2))
  )
  for name, score in (
    ("auroc", sklearn_metrics.roc_auc_score),
    ("auprc", sklearn_metrics.average_precision_score),
  ):
    assert values[name] == pytest.approx(score(target, probs, average="macro"))


def test_a_label_with_one_answer_has_no_ranking():
  values = metrics.labels(np.array([[0.2], [0.7]]), np.array([[1], [1]]))
  assert np.isnan(values["auroc"])
  assert values["accuracy"] == 0.5


def test_certain_and_wrong_is_finite():
  values = metrics.classification(np.eye(2), np.array([1, 0]))
  assert np.isfinite(values["nll"])
  assert values["accuracy"] == 0


def test_calibration_error_by_hand():
  # One bin around .8: 3 of 4 right. One at 1: half right.
  confidence = np.array([0.8, 0.8, 0.8, 0.8, 1.0, 1.0])
  correct = np.array([1, 1, 1, 0, 1, 0], bool)
  expected = 4 / 6 * abs(0.75 - 0.8) + 2 / 6 * abs(0.5 - 1.0)
  error = metrics.calibration_error(confidence, correct)
  assert error == pytest.approx(expected)


def test_bins_hold_their_upper_edge():
  # 0.6 = 9/15 ends a bin, 0.62 lies in the next.
  error = metrics.calibration_error(np.array([0.6, 0.62]), np.array([1, 0]))
  assert error == pytest.approx((0.4 + 0.62) / 2)


def test_calibrated_forecasts_have_little_error():
  rng = np.random.default_rng(2)
  confidence = rng.random(50_000)
  correct = rng.random(50_000) < confidence
  assert metrics.calibration_error(confidence, correct) < 0.01
  assert metrics.calibration_error(confidence, ~correct) > 0.3


def test_regression():
  rng = np.random.default_rng(3)
  mean = rng.normal(size=4000)
  target = mean + 2 * rng.normal(size=4000)
  honest, boastful = stats.norm(mean, 2), stats.norm(mean, 0.5)
  values = metrics.regression(
    mean, honest.cdf(target), -honest.logpdf(target), target
  )
  assert values["mae"] == pytest.approx(np.abs(mean - target).mean())
  assert values["pearson"] == pytest.approx(stats.pearsonr(mean, target)[0])
  # The spread of an observed share of 4,000 is below 0.8 percent.
  assert values["ece"] < 0.025
  worse = metrics.regression(
    mean, boastful.cdf(target), -boastful.logpdf(target), target
  )
  assert worse["ece"] > 0.1
  assert worse["nll"] > values["nll"]


def test_sentiment_by_hand():
  target = np.array([-3.0, -1.2, 0.0, 0.4, 2.6, 3.0])
  mean = np.array([-3.7, -0.6, 0.2, 0.0, 2.4, -0.1])
  values = metrics.sentiment(mean, target)
  # Seven classes: -3=-3, -1=-1, 0=0, 0=0, 2≠3, -0≠3.
  assert values["acc_7"] == pytest.approx(4 / 6)
  # Five: -2=-2, -1=-1, 0=0, 0=0, 2=2, -0≠2.
  assert values["acc_5"] == pytest.approx(5 / 6)
  # >= 0 on all rows: truth 0 0 1 1 1 1, decided 0 0 1 1 1 0.
  assert values["acc_2_has0"] == pytest.approx(5 / 6)
  # > 0 without the row of truth 0: truth 0 0 1 1 1, decided 0 0 0 1 0.
  assert values["acc_2_non0"] == pytest.approx(3 / 5)
  # Weighted F1: class 0 (2 rows) 2·2/(2·2+2), class 1 (3 rows) 2·1/(2·1+2).
  assert values["f1_2_non0"] == pytest.approx(2 / 5 * 2 / 3 + 3 / 5 * 1 / 2)
