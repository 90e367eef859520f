"""The numbers and strings of a pickle, read from its bytes."""

import codecs
import struct
from typing import Any

from btw_jax.data.unpickling import placeholders
from btw_jax.data.unpickling import stream

# Byte strings of this length become blobs.
_BLOB = placeholders.MIN_BLOB
_LAYOUTS = {
  layout: (struct.calcsize(layout), struct.Struct(layout).unpack)
  for layout in ("<B", "<H", "<I", "<i", "<Q", ">d")
}
# Python prints integers of at most 4,300 digits, about 1,785 bytes.
_MAX_INTEGER_BYTES = 1024


def check_protocol(source: stream.Stream) -> None:
  """Raises `ValueError` for a protocol that does not exist."""
  protocol = read_number(source, "<B")
  if protocol > 5:
    raise ValueError(f"has protocol {protocol}, and 5 is the highest")


def read_number(source: stream.Stream, layout: str) -> Any:
  """Returns a number of a layout of `struct`."""
  size, unpack = _LAYOUTS[layout]
  return unpack(source.read(size))[0]


def read_long(source: stream.Stream, layout: str) -> int:
  """Returns an integer whose number of bytes is before it."""
  length = read_number(source, layout)
  if not 0 <= length <= _MAX_INTEGER_BYTES:
    raise ValueError(f"has an integer of {length} bytes")
  return int.from_bytes(source.read(length), "little", signed=True)


def read_text(source: stream.Stream, layout: str) -> str:
  """Returns a text whose number of bytes is before it."""
  length = read_number(source, layout)
  content = source.read(length) if length < _BLOB else source.read_long(length)
  return str(content, "utf-8", "surrogatepass")


def read_bytes(source: stream.Stream, layout: str) -> bytes | placeholders.Blob:
  """Returns a byte string whose number of bytes is before it."""
  length = read_number(source, layout)
  if length < _BLOB:
    return source.read(length)
  return placeholders.Blob(source.read_long(length))


def read_latin1(source: stream.Stream, layout: str) -> str | placeholders.Blob:
  """Returns a `str` of Python 2, which may hold an array, as Latin-1."""
  length = read_number(source, layout)
  if length < _BLOB:
    return source.read(length).decode("latin1")
  return placeholders.Blob(source.read_long(length), is_text=True)


def read_bytearray(source: stream.Stream) -> bytearray:
  """Returns a byte array whose number of bytes is before it."""
  return source.read_long(read_number(source, "<Q"))


def read_int_line(source: stream.Stream) -> bool | int:
  """Returns the integer or truth value of a line."""
  line = source.read_line()
  flags = {b"00": False, b"01": True}
  return flags[line] if line in flags else _parse_integer(line)


def read_long_line(source: stream.Stream) -> int:
  """Returns the integer of a line that Python 2 ended with L."""
  return _parse_integer(source.read_line().rstrip(b"L"))


def read_float_line(source: stream.Stream) -> float:
  """Returns the number of a line."""
  return float(source.read_line())


def read_string_line(source: stream.Stream) -> str:
  """Returns the quoted string of a line, a `str` of Python 2."""
  line = source.read_line().strip()
  if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
    raise ValueError("has a string without quotes")
  return codecs.escape_decode(line[1:-1])[0].decode("latin1")


def read_unicode_line(source: stream.Stream) -> str:
  """Returns the escaped text of a line."""
  return str(source.read_line(), "raw-unicode-escape")


def _parse_integer(line):
  if len(line) > 2 * _MAX_INTEGER_BYTES:
    raise ValueError(f"has an integer of {len(line)} digits")
  return int(line)
