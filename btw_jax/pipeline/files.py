"""Files that are written in full or not at all.

Of several processes only the first one writes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import json
import os
import pathlib
from typing import Any

import jax
import numpy as np

from btw_jax import errors
from btw_jax.pipeline import folders


def read_json(path: str | os.PathLike, remedy: str) -> dict[str, Any]:
  """Reads a JSON file that a program wrote.

  Args:
    path: of the file.
    remedy: what to do if it cannot be read, for the message.

  Raises:
    InputError: if the file is missing, unreadable or no JSON object.
  """
  try:
    content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise errors.InputError(
      f"{path}: cannot be read ({error}): {remedy}."
    ) from error
  if not isinstance(content, dict):
    raise errors.InputError(f"{path}: is no JSON object: {remedy}.")
  return content


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes JSON in full or not at all."""
  write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes text in full or not at all."""
  write(path, lambda p: p.write_text(text, encoding="utf-8", newline=""))


def write_arrays(
  path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes arrays to an `.npz` file, in full or not at all."""

  def write_file(partial):
    # An open file, since NumPy adds an ending to a name.
    with open(partial, "wb") as file:
      np.savez(file, **arrays)

  write(path, write_file)


def write(
  path: str | os.PathLike, write_file: Callable[[pathlib.Path], Any]
) -> None:
  """Writes a file in full or not at all; `write_file` writes to a path."""
  if jax.process_index():
    return
  path = pathlib.Path(path)
  folders.check_local(str(path), path)
  partial = path.with_name(path.name + ".partial")
  with name_in_errors(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(partial)
    partial.replace(path)


@contextlib.contextmanager
def name_in_errors(path: str | os.PathLike) -> Iterator[None]:
  """Puts the file's name into errors: a full disk does not name the file."""
  try:
    yield
  except OSError as error:
    error.filename = str(path)
    raise


def remove(paths: Iterable[str | os.PathLike]) -> None:
  """Removes the files that exist."""
  if jax.process_index():
    return
  for path in paths:
    pathlib.Path(path).unlink(missing_ok=True)
