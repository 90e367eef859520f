"""Changed decisions are counted on the questions that both answer."""

import dataclasses

import numpy as np
import pytest

from btw_jax.data.answers import conditions
from btw_jax.pipeline.audit import changes
from support import audits
from support import oracles


def test_effects_are_their_definitions():
  answers = audits.draw({"both": 2.0, "noise": 0.5})
  (row,) = changes.measure(answers, "both", ["noise"], None, 200)
  before, after = (answers.decisions[c] for c in ("both", "noise"))
  right = [d == answers.labels for d in (before, after)]
  assert row["num_questions"] == len(answers)
  assert row["flipped"] == pytest.approx(np.mean(before != after))
  assert row["accuracy_before"] == pytest.approx(right[0].mean())
  assert row["accuracy_after"] == pytest.approx(right[1].mean())
  assert row["accuracy_change"] == pytest.approx(
    right[1].mean() - right[0].mean()
  )
  expected = np.mean(
    [
      oracles.categorical_kl(p, q)
      for p, q in zip(
        *(np.exp(answers.log_probs[c]) for c in ("both", "noise")), strict=True
      )
    ]
  )
  assert row["divergence"] == pytest.approx(expected, rel=1e-4)
  for field in ("flipped", "accuracy_change", "divergence"):
    low, high = row[f"{field}_interval"]
    assert low < row[field] < high


def test_questions_without_an_answer_are_left_out():
  answers = audits.hard(audits.draw({"both": 2.0, "noise": 0.5}))
  decisions = {c: d.copy() for c, d in answers.decisions.items()}
  decisions["noise"][:30] = conditions.NONE
  decisions["both"][30:40] = conditions.NONE
  labels = answers.labels.copy()
  labels[40:60] = conditions.NONE
  answers = dataclasses.replace(answers, decisions=decisions, labels=labels)
  (row,) = changes.measure(answers, "both", ["noise"], None, 200)
  assert row["num_questions"] == 80
  assert row["flipped"] == pytest.approx(
    np.mean(decisions["noise"][40:] != decisions["both"][40:])
  )
  assert row["accuracy_after"] == pytest.approx(
    np.mean(decisions["noise"][60:] == labels[60:])
  )
  assert "divergence" not in row


def test_cut_lists_have_no_divergence():
  answers = audits.draw({"both": 2.0, "noise": 0.5})
  answers = dataclasses.replace(
    answers, ceilings={"noise": answers.log_probs["noise"]}
  )
  (row,) = changes.measure(answers, "both", ["noise"], None, 100)
  assert "divergence" not in row
  assert "flipped" in row


def test_groups_widen_intervals():
  """Four equal questions about an image tell no more than one."""
  one = audits.draw({"both": 2.0, "noise": 0.5}, num_questions=60)
  four = one.select(np.repeat(np.arange(60), 4))
  apart, together = (
    changes.measure(four, "both", ["noise"], groups, 500)[0]
    for groups in (None, np.repeat(np.arange(60), 4))
  )
  ratio = np.ptp(together["flipped_interval"]) / np.ptp(
    apart["flipped_interval"]
  )
  assert 1.6 < ratio < 2.4


def test_no_question_in_common():
  answers = audits.hard(audits.draw({"both": 1.0, "noise": 1.0}, 8))
  decisions = dict(answers.decisions) | {"noise": np.full(8, conditions.NONE)}
  answers = dataclasses.replace(answers, decisions=decisions)
  assert changes.measure(answers, "both", ["noise"], None, 200) == [
    {"condition": "noise", "num_questions": 0}
  ]
