"""The classes and shapes of the matrices in a MAT-file, before any is built.

`scipy.io.whosmat` does not tell what lies inside cells, and `scipy.io.loadmat`
believes the sizes that a file claims. This module walks over the elements of a
file of MATLAB 5 to 7.2, keeps none of their numbers, and checks that shapes and
sizes agree (MathWorks, "MAT-File Format", chapter 1).
"""

from collections.abc import Callable, Collection
import math
import pathlib
import struct
from typing import NamedTuple
import zlib

from scipy import io

from btw_jax.data import limits

CELL, CHAR, SPARSE = "cell", "char", "sparse"
NUMBERS = (
  "double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32",
  "int64", "uint64",
)  # fmt: skip
_PLAIN = (*NUMBERS, CHAR, SPARSE)
# The class of a matrix by its code.
_CLASSES = dict(
  enumerate((CELL, "struct", "object", CHAR, SPARSE, *NUMBERS), 1)
) | {16: "function", 17: "opaque"}
# The types of elements: a matrix, a packed matrix, and the size of a number.
_MATRIX, _PACKED = 14, 15
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1}
_SIZES |= {17: 2, 18: 4}
_IS_COMPLEX = 0x800
_HEADER = 128
# Views are few, and names are short.
_MAX_CELLS, _MAX_SMALL = 1000, 4096
_CHUNK = 2**20


class Header(NamedTuple):
  """The header of a matrix.

  Attributes:
    kind: its class, as `scipy.io.whosmat` calls it, or "complex".
    shape: its sizes, as many as it has axes.
    cells: the headers of the matrices in it, in MATLAB's order, if it is a cell
      array.
  """

  kind: str
  shape: tuple[int, ...]
  cells: tuple["Header", ...] = ()


def read(path: str | pathlib.Path, names: Collection[str]) -> dict[str, Header]:
  """Returns the headers of the variables of some names that a file has.

  Raises:
    InputError: if they unpack to more than a file of its size may.
    ValueError, EOFError, zlib.error, struct.error: if the file is damaged.
  """
  headers = {}
  with open(path, "rb") as file:
    start = file.read(_HEADER)
    if b"\0" in start[:4]:
      # MATLAB 4 packs nothing and has no cells.
      return {n: Header(k, s) for n, s, k in io.whosmat(file) if n in names}
    order = {b"IM": "<", b"MI": ">"}.get(start[-2:])
    if order is None:
      raise ValueError("it has no header of a MAT-file")
    while tag := file.read(8):
      kind, size = struct.unpack(f"{order}II", tag)
      end = file.tell() + size
      source = file.read
      if kind == _PACKED:
        source = _unpacked(file, size)
      walker = _Walker(source, order, path)
      if kind == _PACKED:
        kind, size = walker.numbers("II", walker.take(8))
      if kind != _MATRIX:
        raise ValueError(f"it has an element of type {kind}")
      name, header = walker.matrix(size, names)
      if name in headers:
        raise ValueError(f"it has two variables {name!r}")
      if name in names:
        headers[name] = header
      file.seek(end)
  return headers


def _unpacked(file, size) -> Callable[[int], bytes]:
  """Returns a function that reads from the packed element that follows."""
  unpacker, left = zlib.decompressobj(), size

  def read(count):
    nonlocal left
    data = b""
    while not data and not unpacker.eof:
      packed = unpacker.unconsumed_tail
      if not packed:
        packed = file.read(min(left, _CHUNK))
        left -= len(packed)
        if not packed:
          break
      data = unpacker.decompress(packed, count)
    return data

  return read


class _Walker:
  """A walk over the elements of one variable."""

  def __init__(
    self, read: Callable[[int], bytes], order: str, path: str | pathlib.Path
  ):
    self._read, self._order, self._path = read, order, path
    self._position = 0

  def take(self, count: int) -> bytes:
    """Returns the next bytes; raises `EOFError` if there are fewer."""
    parts, left = [], count
    while left:
      part = self._read(left)
      if not part:
        raise EOFError("it ends early")
      parts.append(part)
      left -= len(part)
    self._position += count
    return b"".join(parts)

  def numbers(self, kinds: str, data: bytes) -> tuple[int, ...]:
    """Returns the numbers of some kinds of `struct` that bytes hold."""
    return struct.unpack(f"{self._order}{kinds}", data)

  def matrix(
    self, size: int, names: Collection[str] | None = None
  ) -> tuple[str, Header]:
    """Reads a matrix of `size` bytes, behind its tag: its name and header.

    Its content is passed over if `names` lacks its name.
    """
    start = self._position
    flags, _ = self.numbers("II", self._small(8))
    dims = self._small()
    shape = self.numbers(f"{len(dims) // 4}i", dims)
    if len(shape) < 2 or min(shape) < 0:
      raise ValueError(f"a matrix has shape {shape}")
    name = self._small().decode("latin1")
    kind = _CLASSES.get(flags & 0xFF, "unknown")
    cells, is_complex = (), bool(flags & _IS_COMPLEX)
    if names is None or name in names:
      if kind == CELL and names is not None:
        cells = self._cells(math.prod(shape))
      elif kind in _PLAIN:
        self._content(kind, shape, is_complex=is_complex)
      is_known = all(cell.kind in (*_PLAIN, "complex") for cell in cells)
      # Other classes are refused, whatever is in them.
      if (kind in _PLAIN or (cells and is_known)) and (
        self._position - start != size
      ):
        raise ValueError(f"{name!r} does not end where its size says")
    is_complex = is_complex and kind in _PLAIN
    return name, Header("complex" if is_complex else kind, shape, cells)

  def _cells(self, count):
    if count > _MAX_CELLS:
      raise ValueError(f"it has an array of {count} cells")
    cells = []
    for _ in range(count):
      kind, size = self.numbers("II", self.take(8))
      if kind != _MATRIX:
        raise ValueError(f"a cell has an element of type {kind}")
      header = self.matrix(size)[1] if size else Header("double", (0, 0))
      cells.append(header)
      if header.kind not in (*_PLAIN, "complex"):
        # It is refused, and the way to the next cell is not known.
        break
    return tuple(cells)

  def _content(self, kind, shape, *, is_complex):
    """Passes over the numbers of a matrix; they must be as many as it has."""
    count = math.prod(shape)
    if kind == CHAR and count > _MAX_SMALL:
      raise ValueError(f"it has a text of {count} characters")
    if kind == SPARSE:
      _, num_ends, *_ = [self._pass() for _ in range(3 + is_complex)]
      if num_ends != shape[1] + 1:
        raise ValueError(f"a sparse matrix of shape {shape} lacks numbers")
      return
    for _ in range(1 + is_complex):
      # Texts of several bytes per character have more of them.
      if self._pass() != count and kind != CHAR:
        raise ValueError(f"a matrix of shape {shape} lacks numbers")

  def _pass(self):
    """Passes over an element and returns how many numbers it has."""
    kind, size, small = self._tag()
    if kind not in _SIZES:
      raise ValueError(f"it has numbers of type {kind}")
    if small is None:
      left = size + -size % 8
      limits.check(self._path, self._position + left)
      while left:
        left -= len(self.take(min(left, _CHUNK)))
    return size // _SIZES[kind]

  def _small(self, size=None):
    """Returns the bytes of a small element."""
    _, count, data = self._tag()
    if count > _MAX_SMALL or size not in (None, count):
      raise ValueError(f"a header has a field of {count} bytes")
    if data is None:
      data = self.take(count + -count % 8)
    return data[:count]

  def _tag(self):
    """Returns the type and size of an element, and its bytes if they are few.

    Up to four bytes may stand in the tag itself.
    """
    tag = self.take(8)
    kind, size = self.numbers("II", tag)
    if kind >> 16:
      if kind >> 16 > 4:
        raise ValueError("an element has a damaged tag")
      return kind & 0xFFFF, kind >> 16, tag[4:]
    return kind, size, None
