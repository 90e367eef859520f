"""The limits of what a file may unpack to.

A small file can unpack to more than any memory holds: a decompression bomb.
Sizes are compared with these limits before anything is built.
"""

import gzip
import pathlib
from typing import Any
import zlib

from btw_jax import errors

# The most bytes that a file may unpack to: unaligned CMU-MOSEI, the largest
# known one, takes about 13 GB.
MAX_BYTES = 32 * 2**30
# What unpacks to more than `FREE_BYTES` may take `MAX_RATIO` times the size of
# its file. Numbers and text seldom pack to less than a tenth, and mostly empty
# tables to less than a hundredth only if they are small.
FREE_BYTES = 2**30
MAX_RATIO = 100

# The most bytes that the method of gzip packs into one.
_GZIP_RATIO = 1032
_CHUNK = 2**20
_FLOAT_BYTES = 8


def check_regular(path: str | pathlib.Path) -> None:
  """Raises `InputError` for a pipe or a device, which may never end."""
  path = pathlib.Path(path)
  if path.exists() and not path.is_file():
    kind = "is a folder" if path.is_dir() else "is a pipe or a device"
    raise errors.InputError(f"{path}: {kind}: give a regular file.")


def of_file(path: str | pathlib.Path) -> int:
  """Returns the most bytes that a packed file may unpack to, by its size."""
  size = pathlib.Path(path).stat().st_size
  return min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * size))


def check(path: str | pathlib.Path, num_bytes: int) -> None:
  """Raises `InputError` if a file unpacks to more than it may."""
  limit = of_file(path)
  if num_bytes > limit:
    raise errors.InputError(
      f"{path}: unpacks to more than {limit:,} bytes: it is too large, or a"
      " decompression bomb; give a smaller file."
    )


def check_gzip(path: str | pathlib.Path) -> None:
  """Counts the bytes of a file that gzip packed, and keeps none of them.

  Raises:
    InputError: if it unpacks to more than it may, or is damaged.
  """
  path = pathlib.Path(path)
  limit = of_file(path)
  if path.stat().st_size * _GZIP_RATIO <= limit:
    return
  count = 0
  try:
    with gzip.open(path) as file:
      while chunk := file.read(_CHUNK):
        count += len(chunk)
        check(path, count)
  except (EOFError, OSError, zlib.error) as error:
    raise errors.InputError(
      f"{path}: cannot be unpacked ({error}): copy it again."
    ) from error


def check_parquet(path: str | pathlib.Path, metadata: Any) -> None:
  """Compares the values that a Parquet file says it holds with the limit.

  `metadata` is that of `pyarrow.parquet`; a value counts as a float64 number.

  Raises:
    InputError: if it unpacks to more than it may.
  """
  count = num_bytes = 0
  for group in map(metadata.row_group, range(metadata.num_row_groups)):
    # Unlike rows times columns, these count the items of lists too.
    for column in map(group.column, range(metadata.num_columns)):
      count += column.num_values
      num_bytes += column.total_uncompressed_size
  check(path, max(_FLOAT_BYTES * count, num_bytes))
