import gzip

import numpy as np
import pyarrow
from pyarrow import parquet
import pytest

from btw_jax.data.answers import read_options
from btw_jax.data.answers import table
from support import answer_files


@pytest.fixture
def world():
  return answer_files.make_world()


@pytest.fixture
def rows(world):
  return answer_files.table_rows(world)


def _read(path, **options):
  return table.read(str(path), read_options.ReadOptions(**options))


def _tsv(path, rows):
  return answer_files.write_csv(path, rows, "\t")


def _gz(path, rows):
  answer_files.write_csv(path, rows)
  path.write_bytes(gzip.compress(path.read_bytes()))
  return path


def _with_mark(path, rows):
  answer_files.write_csv(path, rows)
  path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
  return path


def _parquet(path, rows):
  columns = {name: [row[name] for row in rows] for name in rows[0]}
  for name in ("p_A", "p_B", "p_C", "p_D"):
    columns[name] = [float(v) if v else None for v in columns[name]]
  parquet.write_table(pyarrow.table(columns), path)
  return path


@pytest.mark.parametrize(
  "write", [answer_files.write_csv, _tsv, _gz, _with_mark, _parquet]
)
def test_kinds_of_files(tmp_path, world, rows, write):
  found = _read(write(tmp_path / "answers", rows))
  assert [c.name for c in found] == list(world.probs)
  for condition in found:
    np.testing.assert_allclose(
      condition.log_probs, world.log_probs(condition.name), rtol=1e-9
    )
    assert list(condition.ids) == world.ids
    np.testing.assert_array_equal(condition.labels, world.labels)
    assert condition.option_names == ("A", "B", "C", "D")
    assert list(condition.columns) == ["category"]


def test_ids_of_excel_are_whole_numbers(tmp_path, rows):
  # Excel has no whole numbers: 100 is stored as 100.0.
  for row in rows:
    row["id"] = int(row["id"])
  condition = _read(answer_files.write_xlsx(tmp_path / "a.xlsx", rows))[0]
  assert condition.ids[0] == "100"


def test_names_of_classes_and_logits(tmp_path):
  rows = [
    {"id": i, "target": ("dog", "cat")[i], "p_cat": 3.0, "p_dog": 3.0 + i}
    for i in range(2)
  ]
  path = answer_files.write_csv(tmp_path / "a.csv", rows)
  for kind in ("auto", "logits"):
    (condition,) = _read(path, scores=kind)
    assert condition.option_names == ("cat", "dog")
    assert condition.labels.tolist() == [1, 0]
    # exp(1)/(1 + exp(1)) of the second option in the second row.
    np.testing.assert_allclose(
      np.exp(condition.log_probs[:, 1]), [0.5, np.e / (1 + np.e)]
    )
  with answer_files.refuses("a.csv: row 2", "6, not 1", "--scores=logits"):
    _read(path, scores="probabilities")


def test_labels_that_are_numbers(tmp_path):
  def labels(names):
    rows = [
      {"id": i, "label": label, f"p_{names[0]}": 0.5, f"p_{names[1]}": 0.5}
      for i, label in enumerate((1, 0, 1))
    ]
    path = answer_files.write_csv(tmp_path / "a.csv", rows)
    return _read(path)[0].labels.tolist()

  # Classes that are called by numbers have other positions.
  assert labels(("1", "0")) == [0, 1, 0]
  assert labels(("cat", "dog")) == [1, 0, 1]


def test_answers_in_place_of_probabilities(tmp_path):
  rows = [
    {"id": i, "answer": answer, "label": ("yes", "no")[i % 2], "hard": i % 2}
    for i, answer in enumerate(("Yes", "no", "?", "yes"))
  ]
  (condition,) = _read(answer_files.write_csv(tmp_path / "a.csv", rows))
  assert condition.log_probs is None
  # The words of answers and labels are the options, in alphabetical order.
  assert condition.option_names == ("no", "yes")
  assert condition.decisions.tolist() == [1, 0, -1, 1]
  assert condition.columns == {"hard": ["0", "1", "0", "1"]}


def test_letters_in_place_of_probabilities(tmp_path):
  rows = [{"id": i, "answer": "ABC"[i], "label": "C"} for i in range(3)]
  (condition,) = _read(answer_files.write_csv(tmp_path / "a.csv", rows))
  assert condition.decisions.tolist() == [0, 1, 2]
  assert condition.labels.tolist() == [2] * 3
  # The letters that occur do not tell how many options there are.
  assert condition.num_options.tolist() == [0] * 3


def _predictions(seeds, weightings=("btw",)):
  return [
    {"id": i, "target": "cat", "weighting": weighting, "seed": seed,
     "prediction": "cat", "p_cat": 0.75, "p_dog": 0.25, "weight_image": 0.5,
     "weight_text": 0.5}
    for seed in seeds for weighting in weightings for i in range(3)
  ]  # fmt: skip


def test_our_own_predictions(tmp_path):
  path = tmp_path / "predictions.csv"
  answer_files.write_csv(path, _predictions([0]))
  (condition,) = _read(path)
  assert condition.labels.tolist() == [0] * 3
  assert set(condition.columns) == {"weighting", "seed"}
  answer_files.write_csv(path, _predictions([0, 1]))
  with answer_files.refuses(
    "predictions.csv", "'seed' has the values 0, 1", "such as seed=0"
  ):
    _read(path)
  answer_files.write_csv(path, _predictions([0], ["btw", "none"]))
  with answer_files.refuses("'weighting' has the values btw, none"):
    _read(path)


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    (lambda rows: rows[13].update(id="100"),
     ("condition 'vision': row 15", "'100'", "row 14")),
    (lambda rows: rows[1].update(p_B="x"), ("row 3", "'p_B' is 'x'")),
    (lambda rows: rows[1].update(p_B=""), ("row 3", "no score of option B")),
    (lambda rows: rows[1].update(p_B="0.0"), ("row 3", "not 1")),
    (lambda rows: [r.pop("id") for r in rows], ("has the columns condition",)),
    (lambda rows: [r.update(label="7") for r in rows],
     ("row 2", "option 7", "there are 4")),
  ],
)  # fmt: skip
def test_wrong_tables_are_named(tmp_path, rows, change, parts):
  change(rows)
  path = answer_files.write_csv(tmp_path / "answers.csv", rows)
  with answer_files.refuses("answers.csv", *parts):
    _read(path)


def test_tables_without_rows_and_broken_ones_are_named(tmp_path):
  path = tmp_path / "answers.csv"
  path.write_text("id,p_a,p_b\n")
  with answer_files.refuses("answers.csv: has no row"):
    _read(path)
  path.write_text("id,p_a,p_b\n1,0.5\n")
  with answer_files.refuses("answers.csv: cannot be read as a table"):
    _read(path)
  path.write_bytes(b"PAR1 no table PAR1")
  with answer_files.refuses("answers.csv: cannot be read as a table"):
    _read(path)
