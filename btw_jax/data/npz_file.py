"""The arrays of an `.npz` file, whose sizes are known before they are read."""

from collections.abc import Callable
import math
import pathlib
import zipfile
import zlib

import numpy as np

from btw_jax import errors
from btw_jax.data import limits

# What a damaged archive raises, by what is damaged.
DAMAGE = (
  OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError,
  zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_REASON_LENGTH = 100


def load(
  path: str | pathlib.Path,
  remedy: str,
  is_read: Callable[[str], bool] = lambda name: True,
) -> dict[str, np.ndarray]:
  """Reads the arrays of a file; object arrays, which are pickles, never.

  Args:
    path: of the file.
    remedy: what to do if it cannot be read, for the message.
    is_read: returns True for the name of an array to read; others are not
      unpacked.

  Raises:
    InputError: if the file is damaged, or unpacks to more than it may.
  """
  limits.check_regular(path)
  try:
    with zipfile.ZipFile(path) as archive:
      names = _check_sizes(path, archive, is_read)
    with np.load(path, allow_pickle=False) as arrays:
      return {name: arrays[name] for name in names}
  except errors.InputError:
    raise
  except DAMAGE as error:
    reason = " ".join(str(error).split())[:_REASON_LENGTH]
    raise errors.InputError(
      f"{path}: cannot be read as npz ({reason}): {remedy}."
    ) from error


def _check_sizes(path, archive, is_read):
  """Returns the names of the arrays to read, after a check of their sizes."""
  names, num_bytes = [], 0
  for info in archive.infolist():
    name = info.filename.removesuffix(".npy")
    if is_read(name):
      with archive.open(info) as file:
        _check_header(name, file, info.file_size)
      names.append(name)
      num_bytes += info.file_size
  limits.check(path, num_bytes)
  return names


def _check_header(name, file, size):
  """Refuses an array that says that it is larger than its part of the file."""
  version = np.lib.format.read_magic(file)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  # Version 3, for names that are not Latin-1, is that of tables.
  if read is None:
    raise ValueError(f"{name!r} has version {version} of the format")
  shape, _, dtype = read(file)
  if dtype.hasobject:
    raise ValueError(f"{name!r} holds objects")
  if math.prod(shape) * dtype.itemsize > size:
    raise ValueError(f"{name!r} has the shape {shape} and only {size} bytes")
