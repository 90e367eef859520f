"""Quality of the answers under each condition, and of models together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special

from btw_jax.analysis import interference
from btw_jax.data.answers import conditions
from btw_jax.evaluation import metrics


def is_right(answers: conditions.Answers, name: str) -> np.ndarray:
  """Returns `[N]` bool: the answers of a condition that are right."""
  return answers.decisions[name] == answers.labels


def labelled(answers: conditions.Answers) -> np.ndarray:
  """Returns `[N]` bool: the questions whose right answer is known."""
  if answers.labels is None:
    return np.zeros(len(answers), bool)
  return answers.labels != conditions.NONE


def measure(
  answers: conditions.Answers,
  groups: np.ndarray | None,
  num_resamples: int,
) -> list[dict[str, Any]]:
  """Measures the answers under every condition.

  Args:
    answers: of all conditions.
    groups: `[N]` groups that are resampled together; none by default.
    num_resamples: of each interval.

  Returns:
    A row per condition: `accuracy` with its interval, `nll` in nats, `ece`,
    and the number of questions without an answer. What needs labels or
    probabilities is left out where they are missing.
  """
  known = labelled(answers)
  rows = []
  for name, decisions in answers.decisions.items():
    row = {
      "condition": name,
      "unanswered": int(np.sum(decisions == conditions.NONE)),
    }
    if known.any():
      right = is_right(answers, name)[known].astype(float)
      row["accuracy"] = float(right.mean())
      row["accuracy_interval"] = interference.interval(
        [right],
        num_resamples=num_resamples,
        groups=None if groups is None else groups[known],
      )[0].tolist()
      # A cut list of tokens does not tell the likelihood of what it leaves out.
      if name in answers.log_probs and name not in answers.ceilings:
        probs = np.exp(answers.log_probs[name][known])
        # The accuracy is that of the decisions: a question without an answer
        # has none, although its probabilities are equal.
        row = metrics.decisions(probs, answers.labels[known]) | row
    rows.append(row)
  return rows


def ensembles(
  answers: conditions.Answers,
  alone: Sequence[str],
  weights: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
  """Measures what the models of the modalities predict together.

  Args:
    answers: with labels.
    alone: M conditions, one for each modality.
    weights: variant -> `[N, M]` weights, whose rows sum to 1.

  Returns:
    A row for the mean of the probabilities, and one for each variant: the
    weighted mean of the log-probabilities, normalised.
  """
  known = labelled(answers)
  labels = answers.labels[known]
  log_probs = np.stack([answers.log_probs[name][known] for name in alone], 1)
  mean = np.exp(log_probs).mean(axis=1)
  rows = [{"ensemble": "mean probability"} | metrics.decisions(mean, labels)]
  # An option that one model excludes stays excluded, and 0 x −inf is NaN.
  finite = np.where(np.isinf(log_probs), -1e4, log_probs)
  for variant, table in weights.items():
    pooled = np.einsum("nm,nmc->nc", table[known], finite)
    pooled = scipy.special.softmax(pooled, axis=-1)
    name = f"mean log-probability, weights {variant}"
    rows.append({"ensemble": name} | metrics.decisions(pooled, labels))
  return rows
