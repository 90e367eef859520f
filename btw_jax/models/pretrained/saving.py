"""Writing of models in the layout of the folder that they were read from."""

import os
import pathlib
import shutil
import tempfile

import numpy as np
from safetensors import numpy as safetensors_numpy

from btw_jax import errors
from btw_jax.models.pretrained import family as family_lib
from btw_jax.models.pretrained import folder as folder_lib


def save(model: family_lib.Pretrained, target: str | os.PathLike) -> None:
  """Writes a model, so that other programs read it as they read its source.

  Files, names and number types are those of the source folder; tensors that the
  model does not read, and all other files, are copied. The target appears when
  it is complete.

  Args:
    model: with changed `params`; see `dataclasses.replace`. Those that it lacks
      are copied.
    target: a folder that does not exist.

  Raises:
    InputError: if the target exists.
  """
  source, target = pathlib.Path(model.folder), pathlib.Path(target)
  if target.exists():
    raise errors.InputError(f"{target}: exists: give the name of a new folder.")
  target.parent.mkdir(parents=True, exist_ok=True)
  tensors = folder_lib.list_tensors(source)
  weights = {tensor.file for tensor in tensors.values()}
  partial = pathlib.Path(
    tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)
  )
  try:
    for file in source.iterdir():
      if file.is_file() and file.name not in weights:
        shutil.copyfile(file, partial / file.name)
    for file in sorted(weights):
      _write(model, source / file, partial / file)
    partial.chmod(0o755)
    partial.rename(target)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _write(model, source, target):
  """Writes a file of weights with the model's parameters in their places."""
  canonical_names = {name: canonical for canonical, name in model.names.items()}
  # canonical name -> its parameter, and its layer if it has one
  places = {
    name: (parameter, number if "*" in parameter else ...)
    for parameter, x in model.params.items()
    for number, name in enumerate(
      folder_lib.names_of_layers(parameter, x.shape)
    )
  }
  arrays = {}
  with folder_lib.open_file(source) as opened:
    metadata = opened.metadata()
    for name in opened.keys():  # noqa: SIM118, it is no mapping.
      array = opened.get_tensor(name)
      canonical = canonical_names.get(name)
      if canonical in places:
        parameter, layer = places[canonical]
        array = np.asarray(model.params[parameter][layer], array.dtype)
      arrays[name] = np.ascontiguousarray(array)
  safetensors_numpy.save_file(arrays, target, metadata)
