"""The conversion of a pickle's placeholders into arrays, tables and strings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from btw_jax.data.unpickling import arrays
from btw_jax.data.unpickling import placeholders
from btw_jax.data.unpickling import tables

# No data set nests its containers deeper, and NumPy stops at 64 axes.
_MAX_DEPTH = 50

_NUMBERS = (bool, int, float, complex, type(None), slice)


class Finisher:
  """A pass over a pickle's value, which visits every container once.

  A container that occurs several times is kept once, but counts each time:
  forty lists that hold the next one twice would be 2^40 values to a reader.
  """

  def __init__(self, limit: int):
    """Allows values of `limit` bytes when repeated ones count each time."""
    self._limit, self._made = limit, 0
    # The containers are kept, because the address of a lost one is used again.
    self._done, self._open = {}, set()

  def convert(self, value: Any) -> Any:
    """Returns a value without placeholders.

    Raises:
      RefusedError: if a class or function is left in it.
      ValueError: if it is damaged, contains itself or is too large.
    """
    return self._convert(value)[0]

  def _convert(self, value):
    """Returns the value, and its size with repeated parts."""
    kind = type(value)
    if kind in _NUMBERS:
      return value, 8
    if kind in (str, bytes, bytearray):
      return value, 8 + len(value)
    if isinstance(value, np.generic):
      return value, value.nbytes
    if kind is range:
      size = 8 * _length(value)
      self._check(size)
      return value, size
    if kind is placeholders.Name:
      if value.kind == "NA":
        return tables.missing(), 8
      raise placeholders.RefusedError(value.text)
    if id(value) in self._done:
      return self._done[id(value)][1:]
    if id(value) in self._open:
      raise ValueError("has a container that contains itself")
    if len(self._open) >= _MAX_DEPTH:
      raise ValueError(f"nests more than {_MAX_DEPTH} containers")
    self._open.add(id(value))
    result, size = self._convert_parts(value)
    self._open.remove(id(value))
    self._check(size)
    self._done[id(value)] = (value, result, size)
    return result, size

  def _check(self, size):
    if size > self._limit:
      raise ValueError("repeats its parts to more than its size explains")

  def _convert_parts(self, value):
    if type(value) is placeholders.Blob:
      result = bytes(value.data)
      self._make(len(result))
      result = result.decode("latin1") if value.is_text else result
      return result, len(result)
    if type(value) is placeholders.Instance:
      return self._convert_instance(value)
    if isinstance(value, Mapping):
      # Keys are plain values, as `keys` makes sure.
      total = 8 * len(value)
      for key, item in value.items():
        value[key], size = self._convert(item)
        total += size
      return value, total
    if type(value) in (set, frozenset):
      return value, 8 + sum(8 + _key_size(member) for member in value)
    items, total = [], 8
    for item in value:
      result, size = self._convert(item)
      items.append(result)
      total += size
    if type(value) is tuple:
      return tuple(items), total
    value[:] = items
    return value, total

  def _convert_instance(self, value):
    parts = 0

    def convert(part):
      nonlocal parts
      result, size = self._convert(part)
      parts += size
      return result

    if value.kind in ("ndarray", "_frombuffer"):
      result = arrays.build(value, convert)
      # Short bytes were copied: theirs is the memory of the next arrays.
      value.args, value.state = (), None
      # The check of records takes time for each of their fields.
      num_fields = result.itemsize if result.dtype.names else 0
      self._make(result.nbytes + 64 * num_fields)
      return result, result.nbytes + parts
    if value.kind == "dtype":
      return arrays.read_dtype(value), 8
    result, size = tables.build(value, convert)
    self._make(size)
    return result, size + parts

  def _make(self, size):
    """Counts memory that is taken."""
    self._made += size
    self._check(self._made)


def _length(value):
  """Returns the length of a range, which may exceed what `len` can return."""
  return max(0, -((value.start - value.stop) // value.step))


def _key_size(key):
  return len(key) if isinstance(key, (str, bytes)) else 8
