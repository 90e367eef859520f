"""Labels of the questions of a file, turned to positions among the options."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions

# Files say that a question has no label in these ways.
_UNKNOWN = ("", "-1", "nan", "None")


def read(
  values: Sequence[Any],
  counts: Sequence[int],
  texts: Sequence[Sequence[str]],
  where: Callable[[int], str],
  positions_first: bool = False,
) -> np.ndarray | None:
  """Returns the position of the right option of each question, or `NONE`.

  Labels are texts of options, letters, or positions counted from 0. They are
  positions if all of them are whole numbers, unless all of them are texts of
  options as well: an option may be the number 2.

  Args:
    values: `[N]` labels.
    counts: `[N]` number of options; 0 if unknown.
    texts: `[N]` texts of the options; empty if unknown.
    where: row -> the file and the place in it, for messages.
    positions_first: whole numbers are positions, whatever the options are.

  Returns:
    `[N]` int; None if no question has a label.

  Raises:
    InputError: if a position is not one of an option.
  """
  plain = [_plain(value) for value in values]
  known = [row for row, text in enumerate(plain) if text not in _UNKNOWN]
  if not known:
    return None
  are_texts = all(plain[row] in texts[row] for row in known)
  are_positions = all(plain[row].isdecimal() for row in known)
  result = np.full(len(plain), conditions.NONE)
  if are_positions and (positions_first or not are_texts):
    for row in known:
      result[row] = _position(plain[row], counts[row], where, row)
    return result
  memory = {}
  for row in known:
    key = (plain[row], counts[row], texts[row])
    if key not in memory:
      memory[key] = choices.read_answer(*key)
    result[row] = memory[key]
  return result


def _position(text, count, where, row):
  position = int(text)
  if count and position >= count:
    raise errors.InputError(
      f"{where(row)} names the option {position}, but there are {count}: count"
      " options from 0, or give letters or texts of options."
    )
  return position if count else conditions.NONE


def _plain(value):
  """Returns a label as text; a list of one label is that label."""
  if isinstance(value, list | tuple):
    value = value[0] if len(value) == 1 else None
  if isinstance(value, bool | np.bool_):
    value = int(value)
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  return "" if value is None else str(value).strip()
