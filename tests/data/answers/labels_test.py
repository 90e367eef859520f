import pytest

from btw_jax.data.answers import labels
from support import answer_files

WORDS = ("cat", "dog", "cow")
NUMBERS = ("2", "0", "1")


def _read(values, texts=WORDS, count=3, **options):
  n = len(values)
  found = labels.read(
    values, [count] * n, [texts] * n, lambda row: f"FILE: row {row}", **options
  )
  return None if found is None else found.tolist()


@pytest.mark.parametrize(
  "values",
  [["A", "C"], ["cat", "cow"], [" Cat", "COW."], [0, 2], ["0", "2"], [0.0, 2.0],
   [["A"], ["C"]], ["(A)", "C. cow"]],
)  # fmt: skip
def test_forms_of_labels(values):
  assert _read(values) == [0, 2]


def test_numbers_are_positions_or_texts_of_options():
  assert _read(["2", "0"], NUMBERS) == [0, 1]
  assert _read(["2", "0"], NUMBERS, positions_first=True) == [2, 0]
  # One of them is no text of an option, so all are positions.
  assert _read(["2", "0"], ("3", "2", "5")) == [2, 0]


def test_unknown_labels():
  assert _read([None, "B", "", "E"]) == [-1, 1, -1, -1]
  assert _read([None, "", -1]) is None
  assert _read(["18", "3"], (), count=0) == [-1, -1]


def test_positions_that_are_none_are_refused():
  with answer_files.refuses("FILE: row 1", "option 3", "there are 3", "from 0"):
    _read([1, 3])


def test_truth_values_are_positions():
  assert _read([True, False]) == [1, 0]
