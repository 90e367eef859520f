"""The inert values that stand for classes and objects while a file is read."""

import dataclasses
from typing import Any

# Byte strings of this length are blobs.
MIN_BLOB = 2**16


class RefusedError(Exception):
  """An error for a class, function or operation that is not allowed."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Name:
  """A class or function that a file names. It cannot be called.

  Attributes:
    kind: the reconstructor that it stands for, a key of `names.CALLS`.
    text: the module and the name in the file, for messages.
  """

  kind: str
  text: str


@dataclasses.dataclass(slots=True, eq=False)
class Instance:
  """An array, a dtype or a part of a table, of which only the record exists.

  Attributes:
    kind: the builder that makes the object once the file is read.
    text: the name in the file, for messages.
    args: the arguments of the call; `()` without a call.
    state: the state that the file gives, or None.
    result: the dtype, once it is known; None for all other kinds.
  """

  kind: str
  text: str
  args: tuple = ()
  state: Any = None
  result: Any = None


@dataclasses.dataclass(slots=True, eq=False)
class Blob:
  """A long byte string, in memory that an array can use without a copy.

  Attributes:
    data: the bytes.
    is_text: True for a `str` of Python 2, which Latin-1 decodes.
  """

  data: bytearray
  is_text: bool = False


def payload(value: Any) -> bytes | bytearray:
  """Returns the bytes that the file gave as `bytes`, a blob or Latin-1 text.

  Raises:
    ValueError: if the value is none of them.
  """
  if type(value) is Blob:
    return value.data
  if type(value) is str:
    # The byte strings of Python 2 were decoded as Latin-1.
    return value.encode("latin1")
  if type(value) in (bytes, bytearray):
    return value
  raise ValueError(f"has a {type(value).__name__} in place of bytes")
