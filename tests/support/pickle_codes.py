"""A writer of pickles that no pickler would write, or that old ones wrote."""

import dataclasses
import pickle
from typing import Any

import numpy as np


@dataclasses.dataclass
class Code:
  """Operations that push one value."""

  code: bytes


def name(module, attribute):
  return Code(f"c{module}\n{attribute}\n".encode())


def call(function, *args):
  return Code(push(function) + push(args) + pickle.REDUCE)


def new(cls, *args):
  return Code(push(cls) + push(args) + pickle.NEWOBJ)


def build(value, state):
  return Code(push(value) + push(state) + pickle.BUILD)


def push(value: Any) -> bytes:
  """Returns the operations that push a value, which may hold `Code`."""
  if isinstance(value, Code):
    return value.code
  if isinstance(value, tuple):
    return b"(" + b"".join(map(push, value)) + b"t"
  if isinstance(value, list):
    return b"](" + b"".join(map(push, value)) + b"e"
  if isinstance(value, dict):
    items = (push(k) + push(v) for k, v in value.items())
    return b"}(" + b"".join(items) + b"u"
  # Without the protocol and the end.
  return pickle.dumps(value, 3)[2:-1]


def whole(value):
  """Returns a pickle of a value, which may hold `Code`."""
  return b"\x80\x05" + push(value) + b"."


def dtype(code, order="|", *, flags=0, rest=(None, None, None, -1, -1)):
  return build(
    call(name("numpy", "dtype"), code, 0, 1), (3, order, *rest, flags)
  )


def array(shape, dtype, data, fortran=False, core="numpy.core"):
  """Returns the code of an array as NumPy 1 writes it."""
  empty = call(
    name(f"{core}.multiarray", "_reconstruct"),
    name("numpy", "ndarray"),
    (0,),
    b"b",
  )
  return build(empty, (1, shape, dtype, fortran, data))


def values(x):
  """Returns the code of an array of numbers or objects."""
  if x.dtype == object:
    return array(x.shape, dtype("O8", flags=63), x.ravel().tolist())
  code = x.dtype.str[1:]
  return array(x.shape, dtype(code, x.dtype.str[0]), x.tobytes())


def index(data, cls="Int64Index", label=None):
  """Returns the code of an index of pandas 1."""
  module = "base" if cls == "Index" else "numeric"
  return call(
    name("pandas.core.indexes.base", "_new_Index"),
    name(f"pandas.core.indexes.{module}", cls),
    {"data": values(np.asarray(data)), "name": label},
  )


def range_index(start, stop, step=1):
  """Returns the code of a range of pandas 1 to 3."""
  return call(
    name("pandas.core.indexes.base", "_new_Index"),
    name("pandas.core.indexes.range", "RangeIndex"),
    {"name": None, "start": start, "stop": stop, "step": step},
  )


def slices(start, stop, step=1):
  return call(name("builtins", "slice"), start, stop, step)


def manager(axes, blocks, kind="BlockManager"):
  """Returns the code of the columns of a table of pandas before 1.3."""
  blocks = [{"values": v, "mgr_locs": p} for v, p in blocks]
  state = {"0.14.1": {"axes": axes, "blocks": blocks}}
  return build(
    new(name("pandas.core.internals.managers", kind)),
    (axes, [b["values"] for b in blocks], [], state),
  )


def frame(manager, field="_mgr"):
  """Returns the code of a table; pandas 1.0 called the field `_data`."""
  return build(
    new(name("pandas.core.frame", "DataFrame")),
    {field: manager, "_typ": "dataframe", "_metadata": [], "attrs": {}},
  )
