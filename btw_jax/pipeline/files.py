"""Tables that grow while a run goes on, and files written whole.

Of several processes only the first writes.
"""

from collections.abc import Iterable, Iterator
import contextlib
import json
import os
import pathlib
from typing import Any

import jax


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes JSON, whole or not at all.

  Args:
    path: of the file.
    value: what to write.
  """
  write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes text, whole or not at all.

  Args:
    path: of the file.
    text: what to write.
  """
  if jax.process_index():
    return
  path = pathlib.Path(path)
  partial = path.with_name(path.name + ".partial")
  with named(path):
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(path)


@contextlib.contextmanager
def named(path: str | os.PathLike) -> Iterator[None]:
  """Errors name the file: where a disk is full, the system does not.

  Args:
    path: of the file.

  Yields:
    Nothing.
  """
  try:
    yield
  except OSError as error:
    error.filename = str(path)
    raise


def remove(paths: Iterable[str | os.PathLike]) -> None:
  """Removes files, those of them that are there.

  Args:
    paths: of the files.
  """
  if jax.process_index():
    return
  for path in paths:
    pathlib.Path(path).unlink(missing_ok=True)
