"""Places in a Markdown document that a program fills with tables.

A place is the text between a start line and an end line:

  <!-- table: NAME -->                      the note of a table and its rows
  <!-- table: NAME | COLUMN | COLUMN -->    the note and some columns
  <!-- rows: NAME -->                       the rows alone
  <!-- note: NAME -->                       the note alone
  <!-- end: NAME -->
"""

from collections.abc import Callable, Sequence
import pathlib
import re
from typing import NamedTuple

from btw_jax import errors

_KIND_AND_NAME = r"<!-- (?P<kind>table|rows|note): (?P<name>[^|\n]+?)"
_START = re.compile(_KIND_AND_NAME + r"(?: \| [^\n]+?)? -->")
_PLACE = re.compile(
  rf"(?P<start>{_KIND_AND_NAME}(?P<columns>( \| [^|\n]+?)*) -->\n)"
  r".*?(?P<end><!-- end: (?P=name) -->)",
  re.DOTALL,
)


class Place(NamedTuple):
  """A place in a document.

  Attributes:
    kind: table, rows or note.
    name: name of the table.
    columns: headings of the columns to show; all if empty.
  """

  kind: str
  name: str
  columns: Sequence[str]


def read(path: pathlib.Path) -> tuple[str, list[Place]]:
  """Reads a document and the places in it, which need an end line each."""
  if not path.exists():
    raise errors.InputError(
      f"{path}: no such file: give other files with --document."
    )
  text = path.read_text(encoding="utf-8")
  places = [_place(match) for match in _PLACE.finditer(text)]
  if not places and not _START.search(text):
    raise errors.InputError(f"{path}: has no line '<!-- table: NAME -->'.")
  complete = [place.name for place in places]
  for match in _START.finditer(text):
    if match["name"] not in complete:
      raise errors.InputError(
        f"{path}: has no line '<!-- end: {match['name']} -->': add it after"
        " the table."
      )
  return text, places


def fill(text: str, content: Callable[[Place], str | None]) -> str:
  """Replaces the text of every place for which `content` returns a text."""

  def replace(match):
    new = content(_place(match))
    return match[0] if new is None else f"{match['start']}{new}\n{match['end']}"

  return _PLACE.sub(replace, text)


def _place(match):
  columns = [column.strip() for column in match["columns"].split("|")]
  return Place(match["kind"], match["name"], [c for c in columns if c])
