"""A stream of bytes that reads no more than the file has and a limit allows."""

from typing import Any, BinaryIO

from btw_jax import errors

_WINDOW = 2**18
# Long strings of a compressed file, whose size is unknown, grow by this much.
_CHUNK = 2**24


class Stream:
  """The bytes of a file, in order.

  Attributes:
    position: the number of bytes that were taken.
  """

  def __init__(self, file: BinaryIO, *, limit: int, size: int | None):
    """Reads `file`, of `size` bytes; None if the size is unknown."""
    self._file, self._limit = file, limit
    self._size = size if size is not None and size <= limit else None
    self._window, self._at, self._before = b"", 0, 0

  @property
  def position(self) -> int:
    """The number of bytes that were taken."""
    return self._before + self._at

  def read(self, size: int) -> bytes:
    """Returns the next `size` bytes.

    Raises:
      EOFError: if the file ends before.
      InputError: if the limit ends before.
    """
    end = self._at + size
    if end > len(self._window):
      return bytes(self.read_long(size))
    content = self._window[self._at : end]
    self._at = end
    return content

  def read_long(self, size: int) -> bytearray:
    """Returns the next `size` bytes, read in place; the same errors."""
    self._check(size)
    content = bytearray(self._window[self._at : self._at + size])
    self._at += len(content)
    if len(content) == size:
      return content
    missing = size - len(content)
    if missing < _WINDOW:
      self._fill()
      content += self._window[:missing]
      self._at = missing
      if missing > len(self._window):
        raise EOFError("it ends early")
      return content
    if self._size is not None:
      whole = bytearray(size)
      whole[: len(content)] = content
      self._read_into(memoryview(whole)[len(content) :])
      return whole
    # Nobody knows whether a compressed file has as many bytes as it says, so
    # memory is taken as they come.
    while len(content) < size:
      start = len(content)
      content.extend(bytes(min(size - start, _CHUNK)))
      self._read_into(memoryview(content)[start:])
    return content

  def read_line(self) -> bytes:
    """Returns the bytes up to the next newline, without it; the same errors."""
    parts = []
    while True:
      end = self._window.find(b"\n", self._at)
      if end >= 0:
        parts.append(self._window[self._at : end])
        self._at = end + 1
        return b"".join(parts)
      parts.append(self._window[self._at :])
      self._at = len(self._window)
      self._fill()
      if not self._window:
        raise EOFError("it ends within a line")

  def _check(self, size):
    if self._size is not None and self.position + size > self._size:
      raise EOFError("it ends early")
    if self.position + size > self._limit:
      self._refuse()

  def _fill(self):
    """Replaces a window that was taken whole by the next one."""
    self._before += len(self._window)
    allowed = self._limit - self._before
    self._window, self._at = self._file.read(min(_WINDOW, allowed) or 1), 0
    if not allowed and self._window:
      self._refuse()

  def _read_into(self, view: Any):
    """Fills a view, past the window, from the file."""
    self._before += self._at
    self._window, self._at = b"", 0
    while view:
      count = self._file.readinto(view)
      if not count:
        raise EOFError("it ends early")
      self._before += count
      view = view[count:]

  def _refuse(self):
    raise errors.InputError(
      f"unpacks to more than {self._limit:,} bytes: it is too large, or a"
      " decompression bomb; give a smaller file"
    )
