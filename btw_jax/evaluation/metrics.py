"""Metrics of finished predictions, in NumPy and scikit-learn.

Each function takes the arrays of one split and returns a dict from name to
number. A name always means the same metric:

  accuracy, nll, ece              classes and labels
  auroc, auprc, f1                binary; macro over labels or classes
  mae, pearson, nll, ece          regression, `nll` in the target's own unit
  acc_7, acc_5, acc_2_*, f1_2_*   sentiment in [−3, 3] (CMU-MOSI, CMU-MOSEI)
"""

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

_BINS = 15
_QUANTILES = np.arange(1, 10) / 10


def classification(probs: np.ndarray, target: np.ndarray) -> dict[str, float]:
  """Computes the metrics of class probabilities `[N, C]` and classes `[N]`.

  They are those of `decisions`, auroc (one against rest, macro) and f1 (macro).
  """
  decided = np.argmax(probs, axis=-1)
  return decisions(probs, target) | {
    "auroc": _auroc(target[:, None] == np.arange(probs.shape[1]), probs),
    "f1": float(sklearn_metrics.f1_score(target, decided, average="macro")),
  }


def decisions(probs: np.ndarray, target: np.ndarray) -> dict[str, float]:
  """Computes accuracy, nll (nats) and ece, which need no common classes.

  The options of a row `[C]` of probabilities may be others than those of the
  next one. `probs` is `[N, C]`, `target` `[N]`.
  """
  decided = np.argmax(probs, axis=-1)
  target_probs = np.take_along_axis(probs, target[:, None], axis=-1)[:, 0]
  return {
    "accuracy": float(np.mean(decided == target)),
    "nll": float(-np.mean(np.log(np.maximum(target_probs, _tiny(probs))))),
    "ece": calibration_error(np.max(probs, axis=-1), decided == target),
  }


def labels(probs: np.ndarray, target: np.ndarray) -> dict[str, float]:
  """Computes the metrics of independent labels; a binary task has one label.

  `probs` is the probability of 1, `target` is 0 or 1, `[N, C]` each. The
  metrics are accuracy (mean over labels), nll (nats, summed over labels), ece
  of the decisions, auroc, auprc and f1 (macro over labels). A label is
  predicted if its probability is above 0.5.
  """
  decided = probs > 0.5
  truth = target > 0.5
  tiny = _tiny(probs)
  log_yes = np.log(np.maximum(probs, tiny))
  log_no = np.log(np.maximum(1.0 - probs, tiny))
  confidence = np.maximum(probs, 1.0 - probs)
  return {
    "accuracy": float(np.mean(decided == truth)),
    "nll": float(-np.mean(np.sum(np.where(truth, log_yes, log_no), axis=-1))),
    "ece": calibration_error(confidence.ravel(), (decided == truth).ravel()),
    "auroc": _auroc(truth, probs),
    "auprc": _auprc(truth, probs),
    "f1": float(
      np.mean(
        [
          sklearn_metrics.f1_score(truth[:, c], decided[:, c], zero_division=0)
          for c in range(truth.shape[1])
        ]
      )
    ),
  }


def regression(
  mean: np.ndarray, cdf: np.ndarray, nll: np.ndarray, target: np.ndarray
) -> dict[str, float]:
  """Computes the metrics of predicted distributions over the reals.

  Args:
    mean: `[N]` point predictions.
    cdf: `[N]` predicted probability of a value below the target.
    nll: `[N]` −log density of the target, in the target's unit.
    target: `[N]`.

  Returns:
    mae, pearson, nll (nats), and ece: the mean absolute difference between each
    decile and the fraction of targets below the predicted decile (Kuleshov et
    al. 2018, arXiv 1807.00263, with absolute differences).
  """
  below = np.mean(cdf[:, None] <= _QUANTILES, axis=0)
  return {
    "mae": float(np.mean(np.abs(mean - target))),
    "pearson": _pearson(mean, target),
    "nll": float(np.mean(nll)),
    "ece": float(np.mean(np.abs(below - _QUANTILES))),
  }


def sentiment(mean: np.ndarray, target: np.ndarray) -> dict[str, float]:
  """Computes the metrics of sentiment in [−3, 3].

  Acc-7 and Acc-5 clip to ±3 and ±2 and round half to even. The two-class
  metrics have two versions: `has0` splits all examples at `>= 0`; `non0` drops
  examples whose target is exactly 0 and splits at `> 0`. F1 is weighted by
  class.

  `mean` holds the `[N]` point predictions.
  """
  result = {}
  for classes, bound in ((7, 3.0), (5, 2.0)):
    rounded = [np.round(np.clip(v, -bound, bound)) for v in (mean, target)]
    result[f"acc_{classes}"] = float(np.mean(rounded[0] == rounded[1]))
  nonzero = target != 0
  for name, decided, truth in (
    ("has0", mean >= 0, target >= 0),
    ("non0", mean[nonzero] > 0, target[nonzero] > 0),
  ):
    result[f"acc_2_{name}"] = float(np.mean(decided == truth))
    result[f"f1_2_{name}"] = float(
      sklearn_metrics.f1_score(truth, decided, average="weighted")
    )
  return result


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
  """Computes the expected calibration error over 15 bins of equal width.

  `Σ_b (n_b/N) |accuracy_b − confidence_b|`; Guo et al. (2017), "On calibration
  of modern neural networks", section 2.

  `confidence` `[N]` is the probability of the decisions, `correct` `[N]` is
  true where a decision is right.
  """
  # Bins are (lower, upper]: a confidence of exactly 1 belongs to the last.
  bins = np.ceil(np.asarray(confidence, np.float64) * _BINS).astype(int) - 1
  bins = np.clip(bins, 0, _BINS - 1)
  gap = np.asarray(correct, np.float64) - confidence
  return float(np.sum(np.abs(np.bincount(bins, gap))) / len(bins))


def _tiny(probs):
  return np.finfo(probs.dtype).tiny


def _pearson(x, y):
  if np.std(x) == 0 or np.std(y) == 0:
    return 0.0
  return float(np.corrcoef(x, y)[0, 1])


def _auroc(truth, probs):
  """Computes the macro AUROC from ranks, as the Mann–Whitney U statistic."""
  columns = _two_valued(truth)
  positive = truth[:, columns].sum(0)
  ranks = stats.rankdata(probs[:, columns], axis=0)
  u = np.sum(ranks * truth[:, columns], axis=0) - positive * (positive + 1) / 2
  return _mean(u / (positive * (len(truth) - positive)))


def _auprc(truth, probs):
  score = sklearn_metrics.average_precision_score
  return _mean([score(truth[:, c], probs[:, c]) for c in _two_valued(truth)])


def _two_valued(truth):
  """Returns the labels with both values, for which scores are defined."""
  positive = truth.sum(0)
  return np.flatnonzero((positive > 0) & (positive < len(truth)))


def _mean(scores):
  """Averages scores; NaN if there is none."""
  return float(np.mean(scores)) if len(scores) else float("nan")
