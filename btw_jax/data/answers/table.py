"""The reader of your own tables: CSV, TSV or Parquet.

The columns are `id`, `p_<option>` or `answer`, and optionally `condition` and
`label`. Every other column is one by which questions can be grouped.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import conditions
from btw_jax.data.answers import files
from btw_jax.data.answers import labels
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options

_PREFIX = "p_"
_LABEL_FIELDS = ("label", "target")
# Columns of our own predictions that group nothing.
_OWN = ("prediction", "weight_")
# Columns whose different values make the same question occur again.
_REPEATS = ("weighting", "seed")


def recognise(record: Mapping[str, Any]) -> bool:
  """Returns True if a table has these columns."""
  return "id" in record and (
    "answer" in record or any(name.startswith(_PREFIX) for name in record)
  )


def read(
  path: str, options: read_options.ReadOptions
) -> list[conditions.Condition]:
  """Reads a table; one condition for each value of the column `condition`.

  Raises:
    InputError: naming the first row that is wrong.
  """
  columns = files.read_table(path)
  if not recognise(columns):
    raise errors.InputError(
      f"{path}: has the columns {', '.join(list(columns)[:8])}: give 'id', and"
      " 'p_<option>' for each option, or 'answer'."
    )
  ids = columns["id"]
  if not ids:
    raise errors.InputError(f"{path}: has no row: give one row per question.")
  for name in _REPEATS:
    _check_constant(path, columns, name)
  parts = {}
  for row, name in enumerate(columns.get("condition", [""] * len(ids))):
    parts.setdefault(_text(name), []).append(row)
  names = _option_names(columns)
  return [
    _condition(
      path, name, names, options,
      {key: [values[row] for row in rows] for key, values in columns.items()},
      [f"row {row + 2}" for row in rows],
    )
    for name, rows in parts.items()
  ]  # fmt: skip


def _option_names(columns):
  """Returns the names of the options; nothing if answers are letters."""
  names = [name for name in columns if name.startswith(_PREFIX)]
  if names:
    return tuple(name.removeprefix(_PREFIX) for name in names)
  # All conditions share the words, also those that one of them never answers.
  known = _labels(columns) or ()
  return questions.shared_names(known) or questions.shared_names(
    [*known, *columns["answer"]]
  )


def _labels(columns):
  return next((columns[key] for key in _LABEL_FIELDS if key in columns), None)


def _check_constant(path, columns, name):
  """Refuses several seeds or rules, which repeat the ids of each other."""
  values = list(dict.fromkeys(map(_text, columns.get(name, ()))))
  if len(values) > 1 and len(set(columns["id"])) < len(columns["id"]):
    raise errors.InputError(
      f"{path}: the column {name!r} has the values {', '.join(values[:4])}, so"
      f" ids repeat: keep the rows of one, such as {name}={values[0]}."
    )


def _condition(path, name, names, options, columns, places):
  """Returns the condition of some rows of the table."""
  file = f"{path}, condition {name!r}" if name else path

  def positions(values):
    return labels.read(
      values, [len(names)] * len(places), [names] * len(places),
      lambda row: f"{file}: {places[row]}",
    )  # fmt: skip

  right = _labels(columns)
  asked = questions.Questions(
    file, list(map(_text, columns["id"])), places, name,
    labels=None if right is None else positions(right),
    names=names, columns=_groups(columns),
  )  # fmt: skip
  fields = [key for key in columns if key.startswith(_PREFIX)]
  if fields:
    values = [_numbers(file, places, key, columns[key]) for key in fields]
    return asked.scored(np.stack(values, axis=1), options)
  decisions = positions(columns["answer"])
  return asked.decided(decisions, np.full(len(places), len(names)))


def _numbers(file, places, name, values):
  """Returns a column as float64, where an empty cell is NaN."""
  try:
    return np.array([np.nan if v in (None, "") else v for v in values], float)
  except (TypeError, ValueError):
    row = next(i for i, v in enumerate(values) if not _is_number(v))
    raise errors.InputError(
      f"{file}: {places[row]}, column {name!r} is {values[row]!r}: give"
      " numbers."
    ) from None


def _is_number(value):
  try:
    float(value or 0)
  except (TypeError, ValueError):
    return False
  return True


def _groups(columns):
  """Returns the columns by which questions can be grouped."""
  skip = ("id", "condition", "answer", *_LABEL_FIELDS)
  names = [
    name
    for name in columns
    if name not in skip and not name.startswith((_PREFIX, *_OWN))
  ]
  groups = questions.Columns()
  for row in zip(*(columns[name] for name in names), strict=True):
    groups.add(dict(zip(names, row, strict=True)))
  return groups.finish()


def _text(value: Any) -> str:
  return "" if value is None else str(value).strip()
