"""The reader of the tables of VLMEvalKit: answers as text.

`{model}_{dataset}.xlsx` (or tsv, csv, json) has the columns index, question,
A, B, ..., answer, prediction, and others by which questions can be grouped. An
empty cell in the column of a letter means that the question has no such option.
"""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import files
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options

_SKIP = ("index", "question", "answer", "prediction", "hit", "log", "hint")


def recognise(record: Mapping[str, Any]) -> bool:
  """Returns True if a table, or a record of it, has these columns."""
  return "index" in record and "prediction" in record


def read(
  path: str, options: read_options.ReadOptions
) -> list[conditions.Condition]:
  """Reads a table; its one condition has no name.

  Raises:
    InputError: if the file lacks a column or its answers are unreadable.
  """
  del options  # There are no scores.
  columns, places = _read_columns(path)
  for name in ("index", "prediction"):
    if name not in columns:
      raise errors.InputError(
        f"{path}: has no column {name!r}: give a table that VLMEvalKit wrote"
        " after inference."
      )
  columns = {
    name: [_text(value) for value in values] for name, values in columns.items()
  }
  return [_condition(path, columns, places)]


def _condition(path, columns, places):
  texts, names = _option_texts(path, columns, places), ()
  answers = columns.get("answer")
  if not any(texts):
    names = questions.shared_names(answers or ())
    texts = [names] * len(places)
  predictions = columns["prediction"]
  decisions = _positions(predictions, texts)
  return questions.Questions(
    path,
    columns["index"],
    places,
    labels=_positions(answers, texts) if answers and any(answers) else None,
    texts=texts if any(texts) else None,
    names=names,
    columns=_groups(columns),
    notes=questions.count_note(
      sum(not text for text in predictions),
      len(places),
      "have an empty prediction",
    ),
  ).decided(decisions, np.array([len(row) for row in texts], int))


def _positions(answers, texts):
  """Returns the positions `[N]` that answers or labels name."""
  return np.array(
    [
      choices.read_answer(answer, len(row), row)
      for answer, row in zip(answers, texts, strict=True)
    ],
    int,
  )


def _option_texts(path, columns, places):
  """Returns the texts of the options `[N]` in the columns A, B, ..."""
  letters = list(itertools.takewhile(columns.__contains__, choices.letters(26)))
  texts = []
  for row, place in enumerate(places):
    cells = tuple(columns[name][row] for name in letters)
    count = max((i + 1 for i, cell in enumerate(cells) if cell), default=0)
    if "" in cells[:count]:
      missing = choices.letter(cells.index(""))
      raise errors.InputError(
        f"{path}: {place} has no option {missing}, but a later one: fill the"
        " cell."
      )
    texts.append(cells[:count])
  return texts


def _groups(columns: Mapping[str, Sequence[str]]):
  """Returns the columns by which questions can be grouped."""
  letters = choices.letters(26)
  groups = questions.Columns()
  names = [name for name in columns if name not in (*_SKIP, *letters)]
  for row in zip(*(columns[name] for name in names), strict=True):
    groups.add(dict(zip(names, row, strict=True)))
  return groups.finish()


def _read_columns(path):
  """Returns column -> values, and the place of each row in the file."""
  if files.kind_of(path) != "json":
    columns = files.read_table(path)
    count = len(next(iter(columns.values()), ()))
    return columns, [f"row {row + 2}" for row in range(count)]
  content = files.read_json(path)
  if not _is_json_table(content):
    raise errors.InputError(
      f"{path}: is neither a list of records nor columns: give a table that"
      " VLMEvalKit wrote."
    )
  if isinstance(content, Mapping):
    # The form that pandas writes: column -> {row: value}.
    columns = {
      name: list(values.values()) if isinstance(values, Mapping) else values
      for name, values in content.items()
    }
  else:
    names = dict.fromkeys(name for record in content for name in record)
    columns = {name: [r.get(name) for r in content] for name in names}
  count = len(next(iter(columns.values()), ()))
  return columns, [f"record {row + 1}" for row in range(count)]


def _is_json_table(content):
  """Returns True for a list of records, or columns of one length."""
  if isinstance(content, list):
    return all(isinstance(record, Mapping) for record in content)
  columns = list(content.values()) if isinstance(content, Mapping) else [None]
  return all(
    isinstance(column, Mapping | list) and len(column) == len(columns[0])
    for column in columns
  )


def _text(value: Any) -> str:
  """Returns a cell as text; an empty cell, None or NaN, as an empty text."""
  if value is None or value != value:
    return ""
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  return str(value).strip()
