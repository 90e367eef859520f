"""The fields of a file that is in memory, checked when they are read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from btw_jax import errors


class Fields:
  """A mapping from a file, whose errors name the file.

  Attributes:
    name: the file, and the part of it, for messages.
  """

  def __init__(self, name: object, kind: str, content: Any):
    """Checks that `content`, read from the file `name`, is a mapping.

    `kind` is the expected kind of file with its article, for messages.

    Raises:
      InputError: if the content is not a mapping.
    """
    self.name, self._kind = str(name), kind
    if not isinstance(content, Mapping):
      raise errors.InputError(
        f"{name}: holds a {type(content).__name__}, not named fields, so it is"
        f" no {kind.partition(' ')[2]}: give a file of that format."
      )
    self._content = content

  def __contains__(self, field: str) -> bool:
    """Returns True if the file has the field."""
    return field in self._content

  def get(self, field: str) -> Any:
    """Returns the value of a field; raises `InputError` if it is missing."""
    if field not in self._content:
      names = ", ".join(map(str, list(self._content)[:8])) or "nothing"
      raise errors.InputError(
        f"{self.name}: has no field {field!r}, which {self._kind} has; it holds"
        f" {names}: give a file of that format."
      )
    return self._content[field]

  def nested(self, field: str) -> "Fields":
    """Returns the fields of a field that is itself a mapping."""
    return Fields(f"{self.name}, {field!r}", self._kind, self.get(field))

  def array(self, field: str, rank: int) -> np.ndarray:
    """Returns a field as an array of numbers with `rank` axes.

    Further axes are dropped if they have size 1: `[N, 1]` has rank 1 too.

    Raises:
      InputError: if the field is missing, not numbers, or of another rank.
    """
    value = self.get(field)
    try:
      x = np.asarray(value)
      if x.dtype == object:
        x = x.astype(np.float64)
    except (ValueError, TypeError) as error:
      reason = str(error).rstrip(".").partition(";")[0]
      raise errors.InputError(
        f"{self.name}: field {field!r} cannot be read as numbers ({reason}):"
        " give an array of numbers."
      ) from error
    if x.ndim > rank and all(size == 1 for size in x.shape[rank:]):
      x = x.reshape(x.shape[:rank])
    if x.ndim != rank or x.dtype.kind not in "fiu":
      raise errors.InputError(
        f"{self.name}: field {field!r} has shape {x.shape} of {x.dtype}: give"
        f" numbers with {rank} axes."
      )
    return x

  def numbers(self, field: str) -> np.ndarray:
    """Returns a field as a flat array of numbers, whatever its axes.

    Raises:
      InputError: if the field is missing or not numbers.
    """
    return np.ravel(self.array(field, np.ndim(self.get(field))))

  def texts(self, field: str, num_rows: int) -> list[str]:
    """Returns a field as one string per row.

    A row that has several parts becomes one string, joined by "_".

    Raises:
      InputError: if the field is missing, or has another number of rows.
    """
    rows = self.get(field)
    if not hasattr(rows, "__len__") or isinstance(rows, str | bytes | Mapping):
      raise errors.InputError(
        f"{self.name}: field {field!r} is a {type(rows).__name__}: give a list"
        f" of {num_rows} names."
      )
    if len(rows) != num_rows:
      raise errors.InputError(
        f"{self.name}: field {field!r} has {len(rows)} rows, other fields have"
        f" {num_rows}: give one name for each row."
      )
    return [
      "_".join(str(_decode(part)) for part in np.ravel(np.asarray(row, object)))
      for row in rows
    ]


def _decode(part):
  return part.decode("utf-8", "replace") if isinstance(part, bytes) else part
