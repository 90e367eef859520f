import csv
import io

import pytest

from btw_jax.reports import csv_text


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@sum", "\tx", "=x"])
def test_a_text_that_looks_like_a_formula_gets_a_quotation_mark(text):
  assert csv_text.cell(text) == f"'{text}"
  # A table that is read and written again stays the same.
  assert csv_text.cell(csv_text.cell(text)) == csv_text.cell(text)


@pytest.mark.parametrize("value", ["-1.5", "+3", "-inf", "a=b", "", -2, None])
def test_numbers_and_other_texts_stay(value):
  assert csv_text.cell(value) is value


def test_a_table_has_a_header_and_empty_cells_for_what_a_row_lacks():
  text = csv_text.write(["=id", "b"], [{"=id": "=1"}, {"b": 'x,"y"'}])
  rows = list(csv.reader(io.StringIO(text, newline="")))
  assert rows == [["'=id", "b"], ["'=1", ""], ["", 'x,"y"']]
  with pytest.raises(ValueError, match="unknown columns .'c'."):
    csv_text.write(["a"], [{"c": 1}])
