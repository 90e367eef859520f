"""Sentences about an audit say no more than its numbers."""

import pytest

from btw_jax.reports.audit import sentences as audit_sentences
from support import audit_contents as audits


def _say(**parts):
  return list(audit_sentences.say(audits.content(**parts)))


def test_the_number_of_labels_is_told():
  for labelled, words in (
    (100, "100 questions, all with a label."),
    (0, "100 questions, none with a right answer (label)."),
    (7, "100 questions, 7 with a label."),
  ):
    content = audits.content(num_labelled=labelled)
    assert audit_sentences.describe(content) == [words]
  content = audits.content(roles="a shows a")
  lines = audit_sentences.describe(content)
  assert lines[1] == "The roles of the conditions: a shows a."


def test_nothing_measured_says_nothing():
  assert _say() == []
  assert _say(changes=[{"condition": "a", "num_questions": 0}]) == []


def test_the_most_and_the_fewest_changes():
  rows = [audits.change(name, share) for name, share in
          (("a", 0.2), ("b", 0.5), ("c", 0.1))]  # fmt: skip
  (sentence,) = _say(changes=rows)
  assert sentence == (
    "Under “b”, 50.0 % (95 % interval 48.0 to 52.0) of the decisions differ"
    " from those under “both”: the largest share of all conditions. The"
    " smallest is that under “c”, 10.0 % (95 % interval 8.0 to 12.0)."
  )
  (sentence,) = _say(changes=rows[:1])
  assert "largest" not in sentence
  (sentence,) = _say(changes=[audits.change("a", 0.0)])
  assert sentence == "No decision differs from that under “both”."


def test_changes_of_accuracy_have_their_direction():
  """An interval that contains 0 shows neither a loss nor a gain."""
  rows = [
    audits.change("a", 0.2, -0.3),
    audits.change("b", 0.2, -0.1),
    audits.change("c", 0.2, 0.05),
    audits.change("d", 0.2, 0.01),
  ]
  _, lower, higher, unclear = _say(changes=rows)
  assert lower == (
    "Accuracy is lower under “a” and “b” than under “both”: most under “a”, by"
    " 30.0 points (95 % interval 28.0 to 32.0)."
  )
  assert higher == (
    "Accuracy is higher under “c” than under “both”: by 5.0 points (95 %"
    " interval 3.0 to 7.0)."
  )
  assert unclear.startswith("Under “d”, the 95 % interval of the change")


@pytest.mark.parametrize(
  ("interval", "sign"),
  [((-2, -1), -1), ((-1, 0), 0), ((-1, 1), 0), ((1, 2), 1)],
)
def test_verdict(interval, sign):
  assert audit_sentences.verdict(interval) == sign


def test_the_largest_part_is_named():
  row = audits.interaction(audits.atoms(0.1, 0.02, 0.3, -0.05))
  (sentence,) = _say(interactions=[row])
  assert sentence == (
    # 0.1 + 0.02 + 0.3 - 0.05
    "The decisions hold 0.370 nats of information from vision and text. The"
    " largest part is unique to text, 0.300 nats."
  )


def test_parts_that_the_spread_does_not_separate_are_both_named():
  row = audits.interaction(audits.atoms(0.29, 0.0, 0.3, 0.0))
  (sentence,) = _say(interactions=[row])
  assert sentence.endswith(
    "The largest part is redundant (from either source), 0.290 nats or unique"
    " to text, 0.300 nats: these questions do not tell which is larger."
  )
  row = audits.interaction(audits.atoms(0.2, 0.0, 0.3, 0.0))
  assert "redundant" not in _say(interactions=[row])[0]
  row["at_ceiling"] = audits.atoms(0.3, 0.0, 0.3, 0.0)
  assert "redundant" in _say(interactions=[row])[0]


def test_intervals_of_questions_decide_about_the_largest_part():
  row = audits.interaction(audits.atoms(0.29, 0.0, 0.3, 0.0, spread=0.0))
  assert "redundant" not in _say(interactions=[row])[0]
  row["atoms"]["redundant"]["interval"] = [0.25, 0.31]
  row["atoms"]["unique2"]["interval"] = [0.28, 0.32]
  assert "redundant" in _say(interactions=[row])[0]


def test_few_questions_say_little():
  changes = [audits.change("a", 0.4, -0.1)]
  (sentence,) = _say(changes=changes, num_questions=19)
  assert sentence.startswith("There are fewer than 20 questions")
  assert len(_say(changes=changes, num_questions=20)) > 1


def test_without_information_no_part_is_the_largest():
  row = audits.interaction(audits.atoms(-0.1, -0.1, -0.1, -0.1), control="c")
  assert _say(interactions=[row]) == [
    "The decisions show no information from vision and text, given c."
  ]
  assert _say(interactions=[audits.interaction(None)]) == []
  # A part below 0 is not named, even if the spread reaches the largest one.
  row = audits.interaction(audits.atoms(0.02, -0.001, 0.0, 0.0, spread=0.02))
  assert "unique" not in _say(interactions=[row])[0]


def test_tasks_are_told_by_their_largest_part():
  text = audits.atoms(0.0, 0.0, 0.5, 0.0)
  vision = audits.atoms(0.0, 0.5, 0.0, 0.0)
  rows = [audits.interaction(text, task=f"t{n}") for n in range(8)]
  rows.append(audits.interaction(vision, task="v"))
  assert _say(interactions=rows) == [
    "By task, most information from vision and text is unique to text in t0,"
    " t1, t2, t3, t4 and 3 more; unique to vision in v."
  ]


def test_a_modality_without_information_is_named():
  (row,) = audits.everything()["information"]
  assert _say(information=[row]) == []
  assert _say(information=[row | {"p_value": 0.05}]) == [
    "The test finds no information in the predictions from vision alone about"
    " those under “both” (p = .050)."
  ]
