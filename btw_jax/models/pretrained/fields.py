"""Fields of a model's `config.json`, checked when they are read."""

from collections.abc import Mapping, Sequence
from typing import Any

from btw_jax import errors

# Larger sizes are no model's.
_MAX_SIZE = 2**31


class Fields:
  """The fields of a configuration, or of a part of it."""

  def __init__(self, values: Mapping[str, Any], where: str):
    """Keeps the values; `where` names the file, and the part if it is one."""
    self._values, self._where = values, where

  def __contains__(self, name: str) -> bool:
    """Returns whether a field is given and not null."""
    return self._values.get(name) is not None

  def size(self, name: str, default: int | None = None) -> int:
    """Returns a whole number, at least 1."""
    value = self._get(name, default)
    if not _is_whole(value) or not 1 <= value < _MAX_SIZE:
      raise self.wrong(name, f"give a whole number from 1 to {_MAX_SIZE - 1}")
    return value

  def token(self, *names: str) -> int:
    """Returns a token id, from the first of some fields that is given."""
    name = next((name for name in names if name in self), names[0])
    value = self._get(name, None)
    if not _is_whole(value) or not 0 <= value < _MAX_SIZE:
      raise self.wrong(name, "give the number of a token")
    return value

  def whole(self, name: str, default: int) -> int:
    """Returns a whole number of either sign."""
    value = self._get(name, default)
    if not _is_whole(value) or abs(value) >= _MAX_SIZE:
      raise self.wrong(name, "give a whole number")
    return value

  def number(self, name: str, default: float | None = None) -> float:
    """Returns a number above 0."""
    value = self._get(name, default)
    if not _is_number(value) or value <= 0:
      raise self.wrong(name, "give a number above 0")
    return float(value)

  def numbers(
    self, name: str, length: int, default: Sequence[float]
  ) -> tuple[float, ...]:
    """Returns so many finite numbers."""
    values = self._get(name, default)
    is_list = isinstance(values, list | tuple) and len(values) == length
    if not is_list or not all(map(_is_number, values)):
      raise self.wrong(name, f"give {length} numbers")
    return tuple(map(float, values))

  def extent(self, name: str, default: int) -> tuple[int, int]:
    """Returns height and width; one number or a "shortest_edge" means both."""
    if name not in self or isinstance(self._values[name], int):
      side = self.size(name, default)
      return side, side
    part = self.nested(name)
    if "shortest_edge" in part:
      side = part.size("shortest_edge")
      return side, side
    return part.size("height"), part.size("width")

  def edge(self, name: str, key: str, default: int) -> int:
    """Returns the length of one side, a number or the `key` of an object."""
    if name not in self or isinstance(self._values[name], int):
      return self.size(name, default)
    return self.nested(name).size(key)

  def flag(self, name: str, default: bool) -> bool:
    """Returns a truth value."""
    value = self._get(name, default)
    if not isinstance(value, bool):
      raise self.wrong(name, "give true or false")
    return value

  def choice(self, name: str, choices: Sequence[str], default: str) -> str:
    """Returns one of some texts."""
    value = self._get(name, default)
    if value not in choices:
      raise self.wrong(name, f"this version knows {', '.join(choices)}")
    return value

  def nested(self, name: str) -> "Fields":
    """Returns a part of the configuration; empty if it is not given."""
    value = self._values.get(name)
    if value is not None and not isinstance(value, Mapping):
      raise self.wrong(name, "give an object")
    return Fields(value or {}, f"{self._where}, {name!r}")

  def wrong(self, name: str, reason: str) -> errors.InputError:
    """Returns the error that a field raises."""
    return errors.InputError(
      f"{self._where}: field {name!r} is {self._values.get(name)!r}: {reason}."
    )

  def _get(self, name, default):
    """Returns a value that is not null, or the default."""
    if name in self:
      return self._values[name]
    if default is None:
      raise errors.InputError(
        f"{self._where}: has no field {name!r}: give the config.json of the"
        " model."
      )
    return default


def _is_whole(value):
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and abs(value) < 1e30
