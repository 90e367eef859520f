"""Accuracy, likelihood and calibration equal their definitions."""

import dataclasses

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn_metrics

from btw_jax.data.answers import conditions
from btw_jax.pipeline.audit import quality
from support import audits


def test_rows_are_of_the_labelled_questions():
  answers = audits.draw({"both": 2.0, "text": 0.5})
  labels = answers.labels.copy()
  labels[:20] = conditions.NONE
  decisions = dict(answers.decisions)
  decisions["text"] = decisions["text"].copy()
  decisions["text"][20:25] = conditions.NONE
  answers = dataclasses.replace(answers, labels=labels, decisions=decisions)
  both, text = quality.measure(answers, None, 200)
  known = labels[20:]
  probs = np.exp(answers.log_probs["both"][20:])
  assert both["unanswered"] == 0
  assert text["unanswered"] == 5
  np.testing.assert_allclose(
    both["nll"], sklearn_metrics.log_loss(known, probs), rtol=1e-9
  )
  np.testing.assert_allclose(
    both["accuracy"], np.mean(probs.argmax(axis=1) == known)
  )
  low, high = both["accuracy_interval"]
  assert low < both["accuracy"] < high


def test_cut_lists_have_no_likelihood():
  answers = audits.draw({"both": 2.0})
  answers = dataclasses.replace(answers, ceilings=dict(answers.log_probs))
  (row,) = quality.measure(answers, None, 100)
  assert set(row) == {
    "condition", "unanswered", "accuracy", "accuracy_interval",
  }  # fmt: skip


def test_a_question_without_an_answer_is_wrong():
  answers = audits.hard(audits.draw({"both": 50.0}, num_questions=10))
  decisions = {"both": answers.decisions["both"].copy()}
  decisions["both"][:4] = conditions.NONE
  answers = dataclasses.replace(answers, decisions=decisions)
  (row,) = quality.measure(answers, None, 200)
  assert row["accuracy"] == 0.6
  assert "nll" not in row


def test_a_question_without_an_answer_is_wrong_whatever_its_probabilities():
  """Servers that list no option leave equal probabilities and no decision."""
  even = np.log(np.full((10, 2), 0.5))
  answers = audits.make({"both": even}, np.zeros(10, int))
  decisions = {"both": np.repeat([0, conditions.NONE], 5)}
  answers = dataclasses.replace(answers, decisions=decisions)
  (row,) = quality.measure(answers, None, 200)
  assert row["accuracy"] == 0.5
  assert row["nll"] == pytest.approx(np.log(2))


def test_without_labels_there_is_no_accuracy():
  answers = audits.draw({"both": 2.0})
  answers = dataclasses.replace(answers, labels=None)
  assert quality.measure(answers, None, 200) == [
    {"condition": "both", "unanswered": 0}
  ]
  assert not quality.labelled(answers).any()


def test_ensembles_are_means_of_models():
  answers = audits.draw({"a": 1.0, "b": 2.0, "both": 3.0})
  weights = np.random.default_rng(0).dirichlet(np.ones(2), len(answers))
  rows = quality.ensembles(answers, ["a", "b"], {"w": weights})
  a, b = (answers.log_probs[name] for name in "ab")
  mixture = (np.exp(a) + np.exp(b)) / 2
  pooled = special.softmax(weights[:, :1] * a + weights[:, 1:] * b, axis=1)
  for row, probs in zip(rows, (mixture, pooled), strict=True):
    np.testing.assert_allclose(
      row["nll"], sklearn_metrics.log_loss(answers.labels, probs), rtol=1e-9
    )
    assert row["accuracy"] == np.mean(probs.argmax(axis=1) == answers.labels)


def test_an_excluded_option_stays_excluded():
  log_probs = audits.log_softmax(np.array([[0.0, 0.0, -np.inf]] * 4))
  answers = audits.make({"a": log_probs, "b": log_probs}, np.zeros(4, int))
  weights = np.array([[1.0, 0.0]] * 4)
  for row in quality.ensembles(answers, ["a", "b"], {"w": weights}):
    assert row["nll"] == pytest.approx(np.log(2))
