import json

import numpy as np
import pytest

from btw_jax.data.answers import read_options
from btw_jax.data.answers import vlmevalkit
from support import answer_files

OPTIONS = read_options.ReadOptions()


@pytest.fixture
def world():
  return answer_files.make_world()


@pytest.fixture
def rows(world):
  return answer_files.vlmevalkit_rows(world, "both")


def _read(path):
  (condition,) = vlmevalkit.read(str(path), OPTIONS)
  return condition


def _json(path, content):
  path.write_text(json.dumps(content))
  return path


def _as_columns(rows):
  """Returns rows as pandas writes them: column -> {row: value}."""
  return {
    name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]
  }


@pytest.mark.parametrize(
  ("file", "write"),
  [
    ("a.xlsx", answer_files.write_xlsx),
    ("a.csv", answer_files.write_csv),
    ("a.tsv", lambda path, rows: answer_files.write_csv(path, rows, "\t")),
    ("a.json", _json),
    ("b.json", lambda path, rows: _json(path, _as_columns(rows))),
  ],
)
def test_kinds_of_files(tmp_path, world, rows, file, write):
  condition = _read(write(tmp_path / file, rows))
  assert list(condition.ids) == world.ids
  np.testing.assert_array_equal(condition.decisions, world.decisions("both"))
  np.testing.assert_array_equal(condition.labels, world.labels)
  np.testing.assert_array_equal(condition.num_options, world.counts)
  assert list(condition.option_texts) == world.texts
  assert condition.log_probs is None
  assert set(condition.columns) == {"category", "image_path"}
  assert condition.columns["image_path"][:3] == [
    "images/0.jpg", "images/0.jpg", "images/1.jpg",
  ]  # fmt: skip


def test_numbers_in_cells_are_whole_texts(tmp_path, rows):
  # Excel has no whole numbers: 2 is stored as 2.0.
  for row in rows:
    row.update(A=2, B=3.5, C=4, D=None, prediction=4)
  condition = _read(answer_files.write_xlsx(tmp_path / "a.xlsx", rows))
  assert condition.option_texts[0] == ("2", "3.5", "4")
  assert set(condition.decisions) == {2}


def test_empty_and_unknown_predictions_are_counted(tmp_path, world, rows):
  rows[1]["prediction"] = None
  rows[2]["prediction"] = "A cat is on the mat"
  rows[3]["answer"] = "E"
  condition = _read(answer_files.write_xlsx(tmp_path / "a.xlsx", rows))
  assert condition.decisions[1] == condition.decisions[2] == -1
  assert condition.labels[3] == -1
  assert condition.labels[4] == world.labels[4]
  assert condition.notes == (
    "1 of 12 questions have an empty prediction",
    "2 of 12 answers name no option",
    "1 of 12 questions have no label, or one that names no option",
  )


def test_pictures_in_cells_are_no_groups(tmp_path, rows):
  for row in rows:
    row["image"] = "/9j/" * 1_000_000
  condition = _read(
    answer_files.write_csv(tmp_path / "a.tsv", rows[:3], delimiter="\t")
  )
  assert set(condition.columns) == {"category", "image_path"}


def test_yes_and_no_are_the_options_without_columns_of_letters(tmp_path, rows):
  for i, row in enumerate(rows):
    for letter in "ABCD":
      del row[letter]
    row.update(answer=("Yes", "No")[i % 2], prediction=("yes", "No.")[i % 2])
  condition = _read(answer_files.write_xlsx(tmp_path / "a.xlsx", rows))
  assert condition.option_names == ("no", "yes")
  assert condition.labels.tolist() == condition.decisions.tolist() == [1, 0] * 6


def test_files_without_answers_have_no_labels(tmp_path, rows):
  for row in rows:
    del row["answer"]
  condition = _read(answer_files.write_xlsx(tmp_path / "a.xlsx", rows))
  assert condition.labels is None


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    (lambda rows: [r.pop("prediction") for r in rows],
     ("has no column 'prediction'",)),
    (lambda rows: rows[1].update(B=None), ("row 3", "no option B")),
    (lambda rows: rows[4].update(index=100), ("row 6", "'100'", "row 2")),
    (lambda rows: [r.update(prediction="?") for r in rows],
     ("row 2", "names an option")),
  ],
)  # fmt: skip
def test_wrong_tables_are_named(tmp_path, rows, change, parts):
  change(rows)
  path = answer_files.write_xlsx(tmp_path / "a.xlsx", rows)
  with answer_files.refuses("a.xlsx", *parts):
    _read(path)


def test_files_of_other_kinds_are_named(tmp_path):
  with answer_files.refuses("a.json", "neither a list of records nor columns"):
    _read(_json(tmp_path / "a.json", [1, 2]))
  (tmp_path / "b.xlsx").write_bytes(b"PK\x03\x04 no table")
  with answer_files.refuses("b.xlsx", "cannot be read as a table"):
    _read(tmp_path / "b.xlsx")
