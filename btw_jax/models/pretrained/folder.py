"""Folders of pretrained models: a configuration, and weights as safetensors.

Pickled weights are never read, and nothing of a folder is executed. Shapes are
compared with the configuration before any array is read.
"""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import safetensors

from btw_jax import errors

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = "model.safetensors.index.json"
# Larger files are no configuration, and no index of shards.
_MAX_JSON = 2**25
# The number types of weights; others are quantised.
_DTYPES = ("F64", "F32", "F16", "BF16")
# The names of an error message, of many.
_NAMED = 3


class Tensor(NamedTuple):
  """A tensor of a file.

  Attributes:
    file: the name of the file in the folder.
    name: of the tensor in it.
    shape: of the tensor.
  """

  file: str
  name: str
  shape: tuple[int, ...]


class Source(NamedTuple):
  """The tensors that a parameter is made of.

  Attributes:
    tensors: one, or one of each layer in order.
    is_stacked: whether the parameter has an axis of layers.
  """

  tensors: Sequence[Tensor]
  is_stacked: bool


def read_json(path: pathlib.Path, kind: str) -> dict[str, Any]:
  """Reads an object from a JSON file; `kind` says what it is, for messages.

  Raises:
    InputError: if it cannot be read.
  """
  try:
    if path.stat().st_size > _MAX_JSON:
      raise errors.InputError(
        f"{path}: has more than {_MAX_JSON >> 20} MB: give {kind}."
      )
    values = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise errors.InputError(
      f"{path}: cannot be read ({error.strerror}): give {kind}."
    ) from error
  except (ValueError, RecursionError) as error:
    raise errors.InputError(
      f"{path}: is no JSON ({error}): give {kind}."
    ) from error
  if not isinstance(values, dict):
    raise errors.InputError(f"{path}: holds no object: give {kind}.")
  return values


def list_tensors(folder: str | os.PathLike) -> dict[str, Tensor]:
  """Returns name -> tensor of all weights of a folder, reading headers only.

  Raises:
    InputError: if a file is missing, damaged or of another format.
  """
  folder = pathlib.Path(folder)
  tensors, expected = {}, None
  if (folder / INDEX).exists():
    expected = _read_index(folder)
    files = sorted(set(expected.values()))
  elif (folder / WEIGHTS).exists():
    files = [WEIGHTS]
  else:
    pickled = sorted(p.name for p in folder.glob("*.bin"))
    if pickled:
      raise errors.InputError(
        f"{folder / pickled[0]}: holds pickled weights, which are never read:"
        f" save the model as {WEIGHTS}."
      )
    raise errors.InputError(
      f"{folder}: holds no {WEIGHTS}: give the folder of a model."
    )
  for file in files:
    with open_file(folder / file) as opened:
      for name in opened.keys():  # noqa: SIM118, it is no mapping.
        part = opened.get_slice(name)
        if part.get_dtype() not in _DTYPES and len(part.get_shape()):
          # Numbers of positions, which old files hold, are whole.
          if part.get_dtype() == "I64":
            continue
          raise errors.InputError(
            f"{folder / file}: tensor {name!r} holds {part.get_dtype()}: give"
            f" weights that are not quantised, {', '.join(_DTYPES)}."
          )
        if expected is None or expected.get(name) == file:
          tensors[name] = Tensor(file, name, tuple(part.get_shape()))
  lost = sorted(set(expected or ()) - set(tensors))
  lost = [name for name in lost if not name.endswith("_ids")]
  if lost:
    raise errors.InputError(
      f"{folder / INDEX}: {expected[lost[0]]} has no tensor {lost[0]!r}: fetch"
      " both files again."
    )
  return tensors


def open_file(path: pathlib.Path) -> Any:
  """Opens a safetensors file, whose header is checked against its size.

  Raises:
    InputError: if it is damaged.
  """
  try:
    if not path.is_file():
      raise errors.InputError(f"{path}: is no file: fetch it again.")
    return safetensors.safe_open(path, framework="np")
  except (OSError, safetensors.SafetensorError) as error:
    raise errors.InputError(
      f"{path}: is no whole safetensors file ({error}): fetch it again."
    ) from error


def _read_index(folder):
  """Returns name -> file of the tensors of an index of shards."""
  path = folder / INDEX
  index = read_json(path, "the index of the model's files").get("weight_map")
  if not isinstance(index, Mapping) or not index:
    raise errors.InputError(
      f"{path}: field 'weight_map' is no object of names: fetch it again."
    )
  for name, file in index.items():
    if not isinstance(file, str) or pathlib.Path(file).name != file:
      raise errors.InputError(
        f"{path}: {name!r} is in {file!r}: give the name of a file in the"
        " folder."
      )
    if not (folder / file).is_file():
      raise errors.InputError(
        f"{path}: names {file}, which the folder lacks: fetch it, too."
      )
  return index


def match(
  folder: str | os.PathLike,
  tensors: Mapping[str, Tensor],
  shapes: Mapping[str, tuple[int, ...]],
  aliases: Sequence[tuple[str, str]],
  unused: Sequence[str],
) -> tuple[dict[str, Source], dict[str, str]]:
  """Finds the tensors of each parameter.

  Args:
    folder: the folder, for messages.
    tensors: from `list_tensors`.
    shapes: the shape of each parameter; those of layers have a leading axis.
    aliases: see `family.Family`.
    unused: patterns of names that are not read.

  Returns:
    Parameter -> tensors, and name of a parameter of one layer -> its name in
    the files.

  Raises:
    InputError: naming tensors that are missing, unexpected or of another shape.
  """
  wanted = {
    name: shape[1:] if "*" in parameter else shape
    for parameter, shape in shapes.items()
    for name in names_of_layers(parameter, shape)
  }
  named, unexpected = {}, []
  for name, tensor in tensors.items():
    canonical = name
    for pattern, replacement in aliases:
      canonical = re.sub(pattern, replacement, canonical)
    if canonical not in wanted:
      if not any(re.fullmatch(pattern, canonical) for pattern in unused):
        unexpected.append(name)
    elif canonical in named:
      raise errors.InputError(
        f"{folder}: tensors {named[canonical].name!r} and {name!r} are the same"
        " parameter: keep one of them."
      )
    else:
      named[canonical] = tensor
  missing = [name for name in wanted if name not in named]
  for names, problem in ((missing, "lack"), (unexpected, "have unexpected")):
    if names:
      more = len(names) - _NAMED
      listed = ", ".join(map(repr, names[:_NAMED]))
      raise errors.InputError(
        f"{folder}: the weights {problem} {listed}"
        + (f" and {more} more" if more > 0 else "")
        + f": give the weights that belong to {CONFIG}."
      )
  for name, shape in wanted.items():
    tensor = named[name]
    if tensor.shape != shape:
      raise errors.InputError(
        f"{pathlib.Path(folder) / tensor.file}: tensor {tensor.name!r} has"
        f" shape {list(tensor.shape)}, {CONFIG} asks for {list(shape)}: give"
        " files of one model."
      )
  sources = {
    parameter: Source(
      [named[name] for name in names_of_layers(parameter, shape)],
      "*" in parameter,
    )
    for parameter, shape in shapes.items()
  }
  return sources, {name: tensor.name for name, tensor in named.items()}


def names_of_layers(parameter: str, shape: Sequence[int]) -> list[str]:
  """Returns the names of a parameter of each layer, in their order.

  A parameter that belongs to no stack has one name, its own.
  """
  if "*" not in parameter:
    return [parameter]
  return [parameter.replace("*", str(i)) for i in range(shape[0])]


class Reader:
  """Reads parameters from the files of a folder, which stay open."""

  def __init__(self, folder: str | os.PathLike):
    """Opens no file yet."""
    self._folder = pathlib.Path(folder)
    self._opened = {}

  def read(self, source: Source, dtype: Any) -> np.ndarray:
    """Returns a parameter with a dtype, its layers stacked.

    Raises:
      InputError: if a tensor holds values that are not finite.
    """
    arrays = (self._tensor(tensor) for tensor in source.tensors)
    if not source.is_stacked:
      return next(arrays).astype(dtype)
    first = source.tensors[0]
    stacked = np.empty((len(source.tensors), *first.shape), dtype)
    for of_layer, array in zip(stacked, arrays, strict=True):
      of_layer[...] = array
    return stacked

  def _tensor(self, tensor):
    """Returns a tensor of a file, in the dtype of the file."""
    if tensor.file not in self._opened:
      self._opened[tensor.file] = open_file(self._folder / tensor.file)
    array = self._opened[tensor.file].get_tensor(tensor.name)
    if not np.isfinite(array).all():
      raise errors.InputError(
        f"{self._folder / tensor.file}: tensor {tensor.name!r} holds values"
        " that are not finite: fetch the file again."
      )
    return array
