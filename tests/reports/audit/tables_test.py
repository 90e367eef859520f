"""The tables of an audit have its numbers, in words that are true."""

import pytest

from btw_jax.reports.audit import tables as audit_tables
from support import audit_contents as audits


def _table(name, **parts):
  """Returns the table `name` of a content."""
  tables = audit_tables.all_tables(audits.content(**parts))
  (table,) = [table for table in tables if table.name == name]
  return table


def test_no_table_is_empty_or_has_an_empty_column():
  assert audit_tables.all_tables(audits.content()) == []
  tables = audit_tables.all_tables(audits.everything())
  assert [table.name for table in tables] == [
    "conditions", "changes", "interactions", "information", "weights",
    "ensembles", "training_weights",
  ]  # fmt: skip
  for table in tables:
    assert len(table.rows[0]) <= 8
    for head in table.rows[0]:
      assert any(row[head] for row in table.rows), head


def test_accuracy_may_be_that_of_one_condition_only():
  table = _table(
    "conditions",
    conditions=[audits.condition("a"), audits.condition("b", 0.5)],
  )
  assert [row["accuracy %"] for row in table.rows] == [
    "",
    "50.0 (48.0 to 52.0)",
  ]
  assert "NLL" not in table.rows[0]
  assert "NLL" not in table.note


def test_answers_without_labels_have_no_accuracy():
  table = _table(
    "conditions",
    num_labelled=0,
    conditions=[audits.condition("a", unanswered=1200)],
  )
  assert table.rows == [{"condition": "a", "without an answer": "1,200"}]
  assert "ccuracy" not in table.note


def test_guesses_count_the_options_of_each_question():
  """Half of the questions have 2 options and half have 4."""
  content = audits.content(conditions=[audits.condition("a", 0.5)])
  assert audit_tables.guess_accuracy(content) == pytest.approx(
    (1 / 2 + 1 / 4) / 2
  )
  note = _table("conditions", **content).note
  assert "Random guesses would reach 37.5 %." in note
  content["num_labelled"] = 99
  assert audit_tables.guess_accuracy(content) is None
  assert "guesses" not in _table("conditions", **content).note


def test_changes_say_how_many_questions_were_compared():
  rows = [audits.change("a", 0.4, -0.3), audits.change("b", 0.2, 0.1)]
  table = _table("changes", changes=rows)
  assert list(table.rows[0]) == [
    "condition", "decisions changed %", "accuracy before %", "accuracy after %",
    "change, points",
  ]  # fmt: skip
  assert table.rows[0]["change, points"] == "-30.0 (-32.0 to -28.0)"
  assert table.rows[1]["change, points"] == "+10.0 (+8.0 to +12.0)"
  assert "KL" not in table.note
  rows += [{"condition": "c", "num_questions": 0}]
  rows[1]["num_questions"] = 60
  table = _table("changes", changes=rows)
  assert [row["questions"] for row in table.rows] == ["100", "60", "0"]
  assert table.rows[2]["decisions changed %"] == ""


def test_atoms_are_not_clipped():
  row = audits.interaction(audits.atoms(0.4, -0.1, -0.00001, 0.2))
  cells = _table("interactions", interactions=[row]).rows[0]
  assert cells == {
    "sources": "vision and text",
    "questions": "90",
    "either source (R)": "0.400 ± 0.010",
    "vision alone (U1)": "-0.100 ± 0.010",
    # It is 0 after rounding, and has no sign then.
    "text alone (U2)": "0.000 ± 0.010",
    "only both (S)": "0.200 ± 0.010",
    "spread": "0.010",
  }


def test_the_gap_is_the_largest_error():
  """Its bound is rounded up."""
  rows = [
    audits.interaction(audits.atoms(0, 0, 0, 0), gap=gap)
    for gap in (-1e-7, 0.0021, 0.0001)
  ]
  note = _table("interactions", interactions=rows).note
  assert "(gap) of a value is at most 3e-03 nats" in note
  note = _table("interactions", interactions=rows[:1]).note
  assert "(gap) of a value is at most 0 nats" in note


def test_the_distance_is_that_of_the_worst_pass():
  distance = {
    role: {"nats": 0.0, "total_variation": value}
    for role, value in (("both", 0.0), ("first", 0.31), ("second", 0.02))
  }
  row = audits.interaction(audits.atoms(0, 0, 0, 0), distance=distance)
  table = _table("interactions", interactions=[row])
  assert table.rows[0]["distance"] == "0.310"
  assert "distance" in table.note


def test_several_pairs_are_told_apart():
  zero = audits.atoms(0.1, 0, 0, 0)
  rows = [
    audits.interaction(zero),
    audits.interaction(zero, task="maths"),
    audits.interaction(zero, second="audio", control="text"),
  ]
  table = _table("interactions", interactions=rows)
  assert [(row["task"], row["sources"]) for row in table.rows] == [
    ("all", "vision and text"),
    ("maths", "vision and text"),
    ("all", "vision and audio, given text"),
  ]
  assert "first alone (U1)" in table.rows[0]
  table = _table("interactions", interactions=rows[:2])
  assert "sources" not in table.rows[0]
  assert "vision alone (U1)" in table.rows[0]


def test_intervals_take_the_place_of_the_spread():
  row = audits.interaction(audits.atoms(0.4, 0.1, 0, 0.2, spread=0.03))
  for atom in row["atoms"].values():
    atom["interval"] = [atom["mean"] - 0.1, atom["mean"] + 0.1]
  cells = _table("interactions", interactions=[row]).rows[0]
  assert cells["either source (R)"] == "0.400 (0.300 to 0.500)"
  assert cells["text alone (U2)"] == "0.000 (-0.100 to 0.100)"
  assert cells["spread"] == "0.030"


def test_cut_off_lists_have_both_ends():
  row = audits.interaction(audits.atoms(0.4, 0.1, 0, 0.2))
  row["at_ceiling"] = audits.atoms(0.3, 0.15, 0, 0.1)
  table = _table("interactions", interactions=[row])
  assert [
    (cells["token lists"], cells["either source (R)"]) for cells in table.rows
  ] == [("as read", "0.400 ± 0.010"), ("at their limit", "0.300 ± 0.010")]
  assert "cut off" in table.note


def test_hard_answers_are_explained():
  atoms = audits.atoms(0.4, 0.1, 0, 0.2)
  hard = audits.interaction(atoms, kind="answers")
  note = _table("interactions", interactions=[hard]).note
  assert "chance" in note
  assert "batches" not in note
  row = audits.interaction(atoms)
  soft = _table("interactions", interactions=[row]).note
  assert "chance" not in soft
  assert "bootstrap intervals" in soft
  assert "batches" not in soft
  soft = _table("interactions", interactions=[row | {"num_batches": 2}]).note
  assert "standard deviation of a value over batches" in soft
  single = audits.interaction(audits.atoms(0.4, 0.1, 0, 0.2, spread=None))
  table = _table("interactions", interactions=[single])
  assert "batches" not in table.note
  assert table.rows[0]["either source (R)"] == "0.400"


def test_unsolved_decompositions_are_lacking():
  rows = [
    audits.interaction(None, task=task) for task in ("maths", "art", "law")
  ]
  content = audits.content(interactions=rows, lacking={"accuracy": "a label"})
  assert audit_tables.all_tables(content) == []
  assert audit_tables.lacking(content) == [
    "accuracy: give a label.",
    "interactions (PID) of vision and text in maths, art and law: give more"
    " questions.",
  ]
  content["interactions"] = [audits.interaction(None), *rows]
  assert "vision and text: give" in audit_tables.lacking(content)[1]


def test_weights_have_a_row_for_each_modality():
  table = _table("weights", **audits.everything())
  assert table.rows == [
    {"modality": "vision", "uniform": "0.500", "kl+mi": "0.800"},
    {"modality": "text", "uniform": "0.500", "kl+mi": "0.200"},
  ]


def test_ensembles_are_compared_with_the_reference():
  rows = _table("ensembles", **audits.everything()).rows
  assert [(row["ensemble"], row["accuracy %"]) for row in rows] == [
    ("mean probability", "70.0"),
    ("both", "90.0"),
  ]


def test_p_values_have_no_sign_of_equality():
  content = audits.everything()
  content["information"].append(content["information"][0] | {"p_value": 1e-4})
  table = _table("information", **content)
  assert [row["p"] for row in table.rows] == [".010", "< .001"]
  assert table.rows[0]["by chance, nats"] == "0.1000 ± 0.0200"


def test_markdown_has_all_tables_and_keeps_its_columns():
  content = audits.everything() | {"lacking": {"x": "y"}}
  content["conditions"] = [audits.condition("a|b\nc", 0.5)]
  text = audit_tables.write(content)
  assert r"| a\|b c" in text
  headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
  tables = audit_tables.all_tables(content)
  assert headings == [
    *(table.title for table in tables),
    "What these predictions do not allow",
    "Notes on the files",
  ]
  assert "- x: give y." in text
  assert "- A note." in text
  for sentence in audit_tables.sentences(content):
    assert f"\n\n{sentence}\n\n" in text
