"""Folders that programs write to: local, and held by one process at a time."""

import contextlib
import os
import pathlib
import re
import socket

import jax

from btw_jax import errors

try:
  import fcntl
except ImportError:  # Windows has no such locks.
  fcntl = None

_LOCK = ".lock"
# Wildcards of file names; the backslash separates folders on Windows.
_PATTERN = re.compile(r"[\[\]*?\\]" if os.sep == "/" else r"[\[\]*?]")
# `pathlib` makes one slash of two. One letter is a drive of Windows.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def check_local(place: str, path: str | os.PathLike) -> None:
  """Refuses a path in the storage of a cloud or on another machine.

  Args:
    place: the flag or file, for the message.
    path: the path.

  Raises:
    InputError: if the path begins with a scheme, such as `gs://`.
  """
  if _URL.match(os.fspath(path)):
    raise errors.InputError(
      f"{place}: is not a local path: give a folder of this machine, or one"
      " where the storage is mounted."
    )


def check_plain(flag: str, path: str | os.PathLike) -> None:
  """Refuses a folder of models whose full path has a wildcard.

  Orbax takes such a path for a pattern when it reads checkpoints.

  Raises:
    InputError: naming the first wildcard.
  """
  if wrong := _PATTERN.search(str(pathlib.Path(path).absolute())):
    raise errors.InputError(
      f"--{flag}={os.fspath(path)}: its full path has the sign {wrong[0]!r},"
      " with which checkpoints could not be read again: choose another folder."
    )


def make(flag: str, path: str | os.PathLike) -> pathlib.Path:
  """Makes a local folder that a flag names, and returns its path.

  Raises:
    InputError: if it cannot be made.
  """
  place = f"--{flag}={os.fspath(path)}"
  check_local(place, path)
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.InputError(
      f"{place}: cannot be made ({error.strerror}): choose another."
    ) from error
  return folder


class Lock(contextlib.AbstractContextManager):
  """A lock on a folder, held until it is closed or the process ends."""

  def __init__(self, flag: str, folder: pathlib.Path):
    """Takes the lock; of several processes of a run, the first one does.

    Args:
      flag: the flag that names the folder, for the message.
      folder: an existing folder.

    Raises:
      InputError: naming the process that holds the lock.
    """
    self._path, self._file = folder / _LOCK, None
    if fcntl is None or jax.process_index():
      return
    while self._file is None:
      self._file = self._open(f"--{flag}={folder}")

  def close(self) -> None:
    """Gives the lock back."""
    if self._file is not None:
      self._path.unlink(missing_ok=True)
      self._file.close()
      self._file = None

  def __exit__(self, *exception) -> None:
    """Gives the lock back."""
    self.close()

  def _open(self, place):
    """Returns the locked file; None if another process has just removed it."""
    try:
      file = self._path.open("a+", encoding="utf-8")
    except OSError as error:
      raise errors.InputError(
        f"{place}: cannot be written ({error.strerror}): choose another."
      ) from error
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      holder = file.read(100).strip() or "another process"
      file.close()
      raise errors.InputError(
        f"{place}: {holder} works there: wait until it has ended, or choose"
        " another folder."
      ) from error
    except OSError:
      # A file system without locks.
      return file
    if not _is_at(file, self._path):
      file.close()
      return None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _is_at(file, path):
  """Returns whether a path still leads to an open file."""
  try:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except FileNotFoundError:
    return False
