"""Names of any text fit beside a drawing."""

import re
import warnings

import pytest

from btw_jax.reports import named_rows


def _height(number):
  names = [[f"name {n}"] for n in range(number)]
  drawing = named_rows.drawing("file", "title", names, lambda ax: None)
  (panel,) = named_rows.draw([drawing])
  return float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', panel.svg)[1])


def test_every_row_has_its_height():
  """A row needs 0.26 inches, of 72 points each."""
  assert _height(30) - _height(10) == pytest.approx(20 * 0.26 * 72)


def test_long_names_keep_their_ends():
  names = [f"the_same_beginning_of_a_name_{n}" for n in (1, 2)]
  labels = [named_rows.label(name) for name in names]
  assert labels == [
    f"the_same_begi…f_name_{n}".replace("f_name", "a_name") for n in (1, 2)
  ]
  assert all(len(label) == 22 for label in labels)
  assert named_rows.label("short") == "short"


def test_wide_letters_count_twice():
  label = named_rows.label("很" * 30)
  assert len(label) == 11
  assert "…" in label


def test_letters_that_xml_forbids_become_spaces():
  assert named_rows.label("a\x00b\nc") == "a b c"


def test_a_title_is_as_it_was_given():
  title = named_rows.label("$5 and $6")
  (panel,) = named_rows.draw(
    [named_rows.drawing("file", title, [["a"]], lambda ax: None)]
  )
  assert panel.title == "$5 and $6"
  assert ">$5 and $6</text>" in panel.svg


def test_foreign_letters_raise_no_warning():
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    (panel,) = named_rows.draw(
      [named_rows.drawing("file", "title", [["条件"]], lambda ax: None)]
    )
  assert "条件</text>" in panel.svg


def test_a_name_may_have_several_lines():
  (panel,) = named_rows.draw(
    [named_rows.drawing("file", "title", [["one", "two"]], lambda ax: None)]
  )
  assert ">one</text>" in panel.svg
  assert ">two</text>" in panel.svg
