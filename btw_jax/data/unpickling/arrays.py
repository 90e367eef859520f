"""NumPy's dtypes, arrays and scalars, from the records of a pickle."""

from collections.abc import Callable
import math
import re
from typing import Any

import numpy as np

from btw_jax.data.unpickling import placeholders

_CODE = re.compile(
  r"[|<>=]?(b1|\?|bool|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SUV]\d{0,9}|O[48]?"
  r"|[Mm]8)"
)
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
_MAX_ITEM_BYTES = 2**31
_MAX_RECORD_BYTES = 2**20
_MAX_NESTING = 8
# The most values that the other axes of an empty array may have: a mean over
# the empty axis has as many.
_MAX_EMPTY = 2**24
_MAX_CODE_POINT = 0x10FFFF


def read_dtype(instance: Any, nesting: int = 0) -> np.dtype:
  """Returns the dtype that NumPy wrote as a code and a state.

  Flags and alignment are not taken from the file, and the parts of a record
  must lie inside it, one after the other.

  Raises:
    ValueError: if the code or the state is not what NumPy writes.
  """
  if type(instance) is not placeholders.Instance or instance.kind != "dtype":
    raise ValueError("has an array without a dtype")
  if instance.result is None:
    instance.result = _read_dtype(instance, nesting)
  return instance.result


def _read_dtype(instance, nesting):
  if nesting > _MAX_NESTING:
    raise ValueError("has a dtype that is nested too deep")
  code = instance.args[0] if instance.args else None
  if type(code) is not str or not _CODE.fullmatch(code):
    raise ValueError("has a dtype of an unknown code")
  if instance.state is None:
    return np.dtype(code)
  state = instance.state
  if (
    type(state) is not tuple
    or len(state) not in (8, 9)
    or type(state[0]) is not int
  ):
    raise ValueError("has a dtype with an unknown state")
  _, order, base, names, fields, size = state[:6]
  if type(order) is not str or order not in ("<", ">", "|", "="):
    raise ValueError("has a dtype with an unknown byte order")
  if base is not None:
    return _read_subarray(base, nesting)
  if names is not None:
    return _read_record(names, fields, size, nesting)
  dtype = _read_plain(code, order, state[8] if len(state) > 8 else None)
  if type(size) is not int or size not in (-1, dtype.itemsize):
    raise ValueError("has a dtype of two sizes")
  return dtype


def _read_plain(code, order, metadata):
  dtype = np.dtype(code)
  if dtype.kind in "mM" and metadata is not None:
    _, (unit, number, *_) = metadata
    unit = unit.decode("latin1") if type(unit) is bytes else unit
    if unit in _UNITS and type(number) is int and 0 < number < 2**31:
      dtype = np.dtype(f"{dtype.kind}8[{number}{unit}]")
    elif unit != "generic":
      raise ValueError("has dates of an unknown unit")
  return dtype.newbyteorder(order) if order in "<>" else dtype


def _read_subarray(base, nesting):
  item, shape = base
  item, shape = read_dtype(item, nesting + 1), _as_shape(shape)
  size = math.prod(shape) * item.itemsize
  if not 0 < size <= _MAX_RECORD_BYTES or item.hasobject:
    raise ValueError("has a dtype of an unusual size")
  return np.dtype((item, shape))


def _as_shape(shape):
  shape = (shape,) if type(shape) is int else shape
  if type(shape) is not tuple or len(shape) > 32:
    raise ValueError("has an array of an unknown shape")
  if not all(type(n) is int and 0 <= n < 2**62 for n in shape):
    raise ValueError("has an array of an impossible shape")
  return shape


def _read_record(names, fields, size, nesting):
  if type(size) is not int or not 0 < size <= _MAX_RECORD_BYTES:
    raise ValueError("has records of an unusual size")
  if type(names) is not tuple or len(set(map(type, names)) - {str}):
    raise ValueError("has records without names")
  formats, offsets, end = [], [], 0
  for name in names:
    # A title may follow, which is left out.
    item, offset = fields[name][:2]
    item = read_dtype(item, nesting + 1)
    if type(offset) is not int or offset < end or not item.itemsize:
      raise ValueError("has records whose parts overlap")
    if item.hasobject:
      raise ValueError("has records with objects: save columns of their own")
    formats.append(item)
    offsets.append(offset)
    end = offset + item.itemsize
    if end > size:
      raise ValueError("has records whose parts lie outside")
  return np.dtype(
    {
      "names": list(names), "formats": formats, "offsets": offsets,
      "itemsize": size,
    }
  )  # fmt: skip


def scalar(dtype: Any, data: Any) -> np.generic:
  """Returns the NumPy scalar of a dtype and its bytes.

  Raises:
    ValueError: if they do not match.
  """
  dtype = read_dtype(dtype)
  if dtype.hasobject:
    raise ValueError("has a scalar that is an object")
  return _from_bytes(placeholders.payload(data), dtype, (), "C")[()]


def build(
  instance: placeholders.Instance, convert: Callable[[Any], Any]
) -> np.ndarray:
  """Returns the array of a record; `convert` converts the items of objects.

  A long array uses the memory that it was read into.

  Raises:
    ValueError: if the shape, the dtype and the bytes do not match.
  """
  if instance.kind == "_frombuffer":
    data, dtype, shape, order = instance.args
    is_fortran = order == "F"
  elif type(instance.state) is tuple and len(instance.state) in (4, 5):
    # The first entry, a version, was missing in the first years.
    shape, dtype, is_fortran, data = instance.state[-4:]
  else:
    raise ValueError("has an array without content")
  dtype, shape = read_dtype(dtype), _as_shape(shape)
  order = "F" if is_fortran else "C"
  if dtype.hasobject:
    return _from_objects(data, shape, order, convert)
  return _from_bytes(placeholders.payload(data), dtype, shape, order)


def _from_objects(data, shape, order, convert):
  if type(data) is not list or len(data) != math.prod(shape):
    raise ValueError("has an array of objects with another number of them")
  array = np.empty(len(data), object)
  for i, item in enumerate(convert(data)):
    array[i] = item
  # Objects are written row by row, whatever the order in memory.
  return np.asarray(_reshape(array, shape, "C"), order=order)


def _from_bytes(data, dtype, shape, order):
  if dtype.itemsize > _MAX_ITEM_BYTES or dtype.subdtype:
    raise ValueError("has items of an unusual size")
  if math.prod(shape) * dtype.itemsize != len(data):
    raise ValueError("has an array of another size than its bytes")
  if not data:
    return _reshape(_empty(dtype, shape), shape, order)
  array = np.frombuffer(data, dtype)
  if type(data) is bytes:
    array = array.copy()
  if not dtype.isnative:
    array = array.astype(dtype.newbyteorder("="))
  _check_values(array)
  return _reshape(array, shape, order)


def _reshape(array, shape, order):
  return array.reshape(shape, order=order)


def _empty(dtype, shape):
  if math.prod(n for n in shape if n) > _MAX_EMPTY:
    raise ValueError("has an empty array of an unusual shape")
  return np.zeros(math.prod(shape), dtype.newbyteorder("="))


def _check_values(array):
  """Raises an error for bytes that NumPy never writes and cannot print."""
  if array.dtype.names:
    for name in array.dtype.names:
      _check_values(array[name])
  elif array.dtype.kind == "b":
    codes = array.view(np.uint8)
    if np.any(codes > 1):
      raise ValueError("has a truth value that is neither 0 nor 1")
  elif array.dtype.kind == "U" and array.dtype.itemsize:
    codes = np.ascontiguousarray(array).view(np.uint32)
    if np.any(codes > _MAX_CODE_POINT):
      raise ValueError("has text that is not Unicode")
