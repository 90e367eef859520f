"""The reader of your own tables: CSV, TSV or Parquet.

The columns are `id`, `p_<option>` or `answer`, and optionally `condition` and
`label`. Every other column is one by which questions can be grouped.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import files
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options

_PREFIX = "p_"
_LABELS = ("label", "target")
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
  if not columns["id"]:
    raise errors.InputError(f"{path}: has no row: give one row per question.")
  for name in _REPEATS:
    _check_constant(path, columns, name)
  names = columns.get("condition", [""] * len(columns["id"]))
  parts = {}
  for row, name in enumerate(names):
    parts.setdefault(_text(name), []).append(row)
  return [
    _condition(path, name, rows, columns, options)
    for name, rows in parts.items()
  ]


def _check_constant(path, columns, name):
  """Refuses several seeds or rules, which repeat the ids of each other."""
  values = list(dict.fromkeys(map(_text, columns.get(name, ()))))
  if len(values) > 1 and len(set(columns["id"])) < len(columns["id"]):
    raise errors.InputError(
      f"{path}: the column {name!r} has the values {', '.join(values[:4])}, so"
      f" ids repeat: keep the rows of one, such as {name}={values[0]}."
    )


def _condition(path, name, rows, columns, options):
  """Returns the condition of some rows of the table."""
  columns = {key: [values[row] for row in rows] for key, values in
             columns.items()}  # fmt: skip
  file = f"{path}, condition {name!r}" if name else path
  places = [f"row {row + 2}" for row in rows]
  fields = [key for key in columns if key.startswith(_PREFIX)]
  names = tuple(field.removeprefix(_PREFIX) for field in fields)
  raw = next((columns[key] for key in _LABELS if key in columns), None)
  if not names and not any(isinstance(v, int) for v in raw or ()):
    names = questions.shared_names([*(raw or ()), *columns["answer"]])
  asked = questions.Questions(
    file, list(map(_text, columns["id"])), places, name,
    labels=None if raw is None else _positions(raw, names),
    names=names, columns=_groups(columns),
  )  # fmt: skip
  if fields:
    values = [_numbers(file, places, key, columns[key]) for key in fields]
    return asked.scored(np.stack(values, axis=1), options)
  decisions = _positions(columns["answer"], names)
  return asked.decided(decisions, np.full(len(rows), len(names)))


def _positions(values, names):
  """Returns the positions `[N]` that labels or answers name."""
  read_values = {
    value: choices.read_label(_text(value), len(names), names, index=True)
    for value in set(values)
  }
  return np.array([read_values[value] for value in values], int)


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
  skip = ("id", "condition", "answer", *_LABELS)
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
