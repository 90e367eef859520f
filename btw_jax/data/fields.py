"""Fields of a file that was read whole, checked where they are taken."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from btw_jax import errors


class Fields:
  """A mapping from a file, whose complaints name the file.

  Attributes:
    name: the file, and the part of it.
  """

  def __init__(self, name: object, what: str, content: Any):
    """Checks that the content is a mapping.

    Args:
      name: the file, for messages.
      what: kind of file that was expected, for messages.
      content: what was read.

    Raises:
      InputError: if it is no mapping.
    """
    self.name, self._what = str(name), what
    if not isinstance(content, Mapping):
      raise errors.InputError(
        f"{name}: holds a {type(content).__name__}, not named fields: it is"
        f" no {what.partition(' ')[2]}."
      )
    self._content = content

  def __contains__(self, field: str) -> bool:
    """Whether a field is there."""
    return field in self._content

  def get(self, field: str) -> Any:
    """A field as it is.

    Args:
      field: its name.

    Returns:
      The value.

    Raises:
      InputError: if it is missing.
    """
    if field not in self._content:
      found = ", ".join(map(str, list(self._content)[:8])) or "nothing"
      raise errors.InputError(
        f"{self.name}: has no field {field!r}, as {self._what} has; it holds"
        f" {found}: give a file of that format."
      )
    return self._content[field]

  def inside(self, field: str) -> "Fields":
    """The fields of a field."""
    return Fields(f"{self.name}, {field!r}", self._what, self.get(field))

  def array(self, field: str, rank: int) -> np.ndarray:
    """A field as numbers.

    Args:
      field: its name.
      rank: number of axes; axes of one are left out behind the last of them.

    Returns:
      An array of that rank.

    Raises:
      InputError: if it is missing, not numbers, or of another rank.
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
    if x.ndim != rank or not np.issubdtype(x.dtype, np.number):
      raise errors.InputError(
        f"{self.name}: field {field!r} has shape {x.shape} of {x.dtype}: give"
        f" numbers with {rank} axes."
      )
    return x

  def texts(self, field: str, num_examples: int) -> list[str]:
    """A field as strings; row numbers if it is missing.

    Args:
      field: its name.
      num_examples: rows that it should have.

    Returns:
      One per row; parts of a row are joined by "_".
    """
    if field not in self._content:
      return [str(row) for row in range(num_examples)]
    return [
      "_".join(str(_text(part)) for part in np.ravel(np.asarray(row, object)))
      for row in self._content[field]
    ]


def _text(part):
  return part.decode("utf-8", "replace") if isinstance(part, bytes) else part
