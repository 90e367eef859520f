"""A safe reader of pickles from untrusted sources.

A pickle is a program, and `pickle.load` runs it. This reader builds only NumPy
arrays, pandas tables and Python's containers. No name in a file leads to a
class or function: `unpickling.machine` records what the file asks for, and
`unpickling.finish` makes the data from the records, once they are checked. Any
other name is rejected before anything is called.
"""

from collections.abc import Sequence
import gzip
import os
import pathlib
import stat

from btw_jax import errors
from btw_jax.data import limits
from btw_jax.data.unpickling import finish
from btw_jax.data.unpickling import machine
from btw_jax.data.unpickling import placeholders
from btw_jax.data.unpickling import stream as stream_lib

_GZIP = b"\x1f\x8b"
# The most characters of a message that may come from the file.
_MAX_REASON = 160


def load(
  path: str | pathlib.Path, *, max_bytes: int = limits.MAX_BYTES
) -> object:
  """Reads a pickle of any protocol, gzipped or not, of Python 2 or 3.

  The result consists of containers, strings, numbers, NumPy arrays and pandas
  tables. Arrays can be written to and have the byte order of this machine. A
  `defaultdict` keeps its factory if that is a type of Python's numbers, strings
  or containers.

  Raises:
    InputError: if the file is missing, no regular file, truncated, not a
      pickle, unpacks to more than `max_bytes`, names another class or function,
      or holds what takes far more memory or time than its size explains.
  """
  path = pathlib.Path(path)
  try:
    with open(path, "rb", opener=_open) as raw:
      return _read(raw, max_bytes)
  except FileNotFoundError as error:
    raise errors.InputError(f"{path}: no such file: set the path.") from error
  except errors.InputError as error:
    raise errors.InputError(f"{path}: {error}.") from error
  except placeholders.RefusedError as error:
    raise errors.InputError(
      f"{path}: asks for {_line(error)}, which this reader does not build: it"
      " was not called; save NumPy arrays, pandas tables or containers instead."
    ) from error
  # A malformed pickle can raise an exception of any type.
  except Exception as error:
    reason = _line(error).rstrip(".") or type(error).__name__
    raise errors.InputError(
      f"{path}: cannot be read as a pickle ({reason}): download or write it"
      " again."
    ) from error


def _read(raw, max_bytes):
  """Returns the content of an open file, gzipped or not."""
  is_zipped = raw.peek(2)[:2] == _GZIP
  stream = stream_lib.Stream(
    gzip.GzipFile(fileobj=raw) if is_zipped else raw,
    limit=max_bytes,
    size=None if is_zipped else os.fstat(raw.fileno()).st_size,
  )
  value = machine.Machine(stream).run()
  limit = machine.SLACK + 2 * stream.position
  return finish.Finisher(limit).convert(value)


def _open(path, flags):
  """Opens a file, but no pipe or device, which may never end."""
  # Without this flag, opening a pipe waits for a writer.
  descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
  if not stat.S_ISREG(os.fstat(descriptor).st_mode):
    os.close(descriptor)
    raise OSError("it is not a regular file")
  return descriptor


def _line(error):
  """Returns the message of an error as one short line that can be printed."""
  text = " ".join(str(error).split())[:_MAX_REASON]
  return "".join(c if c.isprintable() else "?" for c in text)


def locate(path: str, names: Sequence[str]) -> pathlib.Path:
  """Returns `path`, or the file of one of the `names` if it is a folder.

  Raises:
    InputError: if the folder holds none or several of the names.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return folder
  matches = [folder / name for name in names if (folder / name).exists()]
  if len(matches) != 1:
    number = "none" if not matches else "more than one"
    raise errors.InputError(
      f"{folder}: holds {number} of {', '.join(names)}: name the file."
    )
  return matches[0]
