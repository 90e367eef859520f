"""Keys of mappings and members of sets, whose hashing must not take long."""

import collections
from collections.abc import Iterable
import itertools
from typing import Any

import numpy as np

# A key is a value, or a tuple or frozenset of a few: the hash of a tuple is not
# stored, so nested tuples that share their parts take exponential time.
_MAX_PARTS = 64
# Python randomises the hashes of strings only: a file can choose numbers and
# tuples that all have one hash, so that each is compared with all before it.
_MAX_EQUAL_HASHES = 64
# Up to 16 of the integers below have the same hash.
_MAX_INTEGER = 2**64

# Equal strings are compared byte by byte; so many of them count as a part.
_PART_LENGTH = 2**10

_PLAIN = (str, bytes, bool, float, type(None))
_NUMPY = (np.number, np.bool_, np.character, np.datetime64, np.timedelta64)


class Keys:
  """A check of the keys of all containers of a file."""

  def __init__(self):
    """Starts without keys."""
    self._hashes = collections.Counter()

  def check(self, key: Any, container: Any) -> None:
    """Raises `ValueError` if a key cannot be hashed and compared at once."""
    if type(key) in (str, bytes):
      if len(key) <= _PART_LENGTH * _MAX_PARTS:
        return
      raise ValueError(f"has a key of {len(key)} characters")
    if type(key) in _PLAIN:
      return
    if type(key) is int and abs(key) < _MAX_INTEGER:
      return
    _check_parts(key)
    chain = (id(container), hash(key))
    self._hashes[chain] += 1
    if self._hashes[chain] > _MAX_EQUAL_HASHES:
      raise ValueError("has keys that share one hash")


def check_members(items: Iterable[Any]) -> None:
  """Checks the members of a set that is made at once, as `Keys.check` does."""
  # A set that is lost again would leave its address to another one.
  keys = Keys()
  for item in items:
    keys.check(item, None)


def _check_parts(key):
  """Raises an error unless a key is a small tree of plain values."""
  open_parts, num_parts = [key], 0
  while open_parts:
    part = open_parts.pop()
    is_text = isinstance(part, (str, bytes))
    num_parts += 1 + (len(part) // _PART_LENGTH if is_text else 0)
    if num_parts > _MAX_PARTS:
      raise ValueError(f"has a key of more than {_MAX_PARTS} parts")
    if type(part) in (tuple, frozenset):
      open_parts.extend(itertools.islice(part, _MAX_PARTS + 1))
    elif not (
      type(part) in (*_PLAIN, int, complex) or isinstance(part, _NUMPY)
    ):
      raise ValueError(f"has a {type(part).__name__} as a key")
