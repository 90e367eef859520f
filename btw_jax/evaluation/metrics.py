"""Metrics of finished predictions, in NumPy and scikit-learn.

Each function takes what a split's evaluation left on the host and returns a
dict from name to number; names mean one thing everywhere:

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
  """Metrics of class probabilities.

  Args:
    probs: `[N, C]` rows summing to 1.
    target: `[N]` class numbers.

  Returns:
    accuracy, nll (nats), ece, auroc (one against the rest, macro), f1 (macro).
  """
  chosen = np.argmax(probs, axis=-1)
  picked = np.take_along_axis(probs, target[:, None], axis=-1)[:, 0]
  return {
    "accuracy": float(np.mean(chosen == target)),
    "nll": float(-np.mean(np.log(np.maximum(picked, _tiny(probs))))),
    "ece": calibration_error(np.max(probs, axis=-1), chosen == target),
    "auroc": _auroc(target[:, None] == np.arange(probs.shape[1]), probs),
    "f1": float(sklearn_metrics.f1_score(target, chosen, average="macro")),
  }


def labels(probs: np.ndarray, target: np.ndarray) -> dict[str, float]:
  """Metrics of independent yes/no labels; a binary task is one label.

  Args:
    probs: `[N, C]` probability of yes.
    target: `[N, C]` 0 or 1.

  Returns:
    accuracy (mean over labels), nll (nats, summed over labels), ece of the
    decisions, auroc, auprc and f1 (macro over labels, decision at 0.5).
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
  """Metrics of a predicted distribution over the reals.

  Args:
    mean: `[N]` point predictions.
    cdf: `[N]` predicted probability of a value below the target.
    nll: `[N]` −log density of the target, in the target's own unit.
    target: `[N]`.

  Returns:
    mae, pearson, nll (nats), and ece: the mean distance between the share of
    targets below each predicted decile and that decile (Kuleshov et al. 2018,
    arXiv 1807.00263, with absolute differences).
  """
  below = np.mean(cdf[:, None] <= _QUANTILES, axis=0)
  return {
    "mae": float(np.mean(np.abs(mean - target))),
    "pearson": _pearson(mean, target),
    "nll": float(np.mean(nll)),
    "ece": float(np.mean(np.abs(below - _QUANTILES))),
  }


def sentiment(mean: np.ndarray, target: np.ndarray) -> dict[str, float]:
  """The metrics of sentiment in [−3, 3].

  Acc-7 and Acc-5 clip to ±3 and ±2 and round half to even. The two-class
  metrics come twice: `has0` splits all rows at `>= 0`; `non0` drops the rows
  whose truth is exactly 0 and splits at `> 0`. F1 is weighted by class.

  Args:
    mean: `[N]` point predictions.
    target: `[N]` in [−3, 3].

  Returns:
    acc_7, acc_5, acc_2_has0, acc_2_non0, f1_2_has0, f1_2_non0.
  """
  result = {}
  for classes, bound in ((7, 3.0), (5, 2.0)):
    rounded = [np.round(np.clip(v, -bound, bound)) for v in (mean, target)]
    result[f"acc_{classes}"] = float(np.mean(rounded[0] == rounded[1]))
  kept = target != 0
  for name, decided, truth in (
    ("has0", mean >= 0, target >= 0),
    ("non0", mean[kept] > 0, target[kept] > 0),
  ):
    result[f"acc_2_{name}"] = float(np.mean(decided == truth))
    result[f"f1_2_{name}"] = float(
      sklearn_metrics.f1_score(truth, decided, average="weighted")
    )
  return result


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
  """Expected calibration error over 15 equal-width bins.

  `Σ_b (n_b/N) |accuracy_b − confidence_b|`; Guo et al. (2017), "On calibration
  of modern neural networks", section 2.

  Args:
    confidence: `[N]` in [0, 1], probability given to the decision.
    correct: `[N]` bool, whether the decision was right.

  Returns:
    In [0, 1].
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
  """Macro; by ranks, which all labels get at once (Mann and Whitney's U)."""
  both = _with_both(truth)
  positive = truth[:, both].sum(0)
  ranks = stats.rankdata(probs[:, both], axis=0)
  above = np.sum(ranks * truth[:, both], axis=0) - positive * (positive + 1) / 2
  return _mean(above / (positive * (len(truth) - positive)))


def _auprc(truth, probs):
  score = sklearn_metrics.average_precision_score
  return _mean([score(truth[:, c], probs[:, c]) for c in _with_both(truth)])


def _with_both(truth):
  """The labels that have both answers."""
  positive = truth.sum(0)
  return np.flatnonzero((positive > 0) & (positive < len(truth)))


def _mean(scores):
  """NaN of no label."""
  return float(np.mean(scores)) if len(scores) else float("nan")
