"""Bring your own: one `.npz` file per split.

`{train,valid,test}.npz` hold `x_<modality>` (`[N, D]`, or `[N, T, D]` with an
optional `length_<modality>` `[N]`, averaged over time), optional
`present_<modality>` (`[N]` 0/1), `y`, and optional `id`.
"""

import pathlib
import zipfile

import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib


def load(*, data_dir: str) -> tuple[dict[str, dataset_lib.Examples], None]:
  """Reads every split that has a file.

  Args:
    data_dir: the folder.

  Returns:
    Splits, and no task: it is inferred.

  Raises:
    InputError: if there is no file, or one is unreadable or lacks a field.
  """
  folder = pathlib.Path(data_dir)
  paths = {s: folder / f"{s}.npz" for s in dataset_lib.SPLITS}
  found = {s: path for s, path in paths.items() if path.exists()}
  if not found:
    raise types.InputError(
      f"{folder}: holds none of {', '.join(p.name for p in paths.values())}:"
      " set --data_dir."
    )
  return {s: _read(path) for s, path in found.items()}, None


def _read(path: pathlib.Path) -> dataset_lib.Examples:
  try:
    # Object arrays are pickles, and a pickle can run code: never allowed.
    with np.load(path, allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in archive.files}
  except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
    raise types.InputError(
      f"{path}: cannot be read as npz ({error}): write it again with"
      " numpy.savez, without object arrays."
    ) from error
  if "y" not in arrays:
    raise types.InputError(f"{path}: has no field 'y': add the targets.")
  modalities = [f[2:] for f in arrays if f.startswith("x_")]
  if not modalities:
    raise types.InputError(
      f"{path}: has no field 'x_<modality>': add one per modality."
    )
  return dataset_lib.complete(
    {m: _vectors(path, m, arrays) for m in modalities},
    _target(arrays["y"]),
    ids=arrays.get("id"),
    present={
      m: arrays[f"present_{m}"] for m in modalities if f"present_{m}" in arrays
    },
    name=str(path),
  )


def _target(y: np.ndarray) -> np.ndarray:
  """A column of targets is a vector."""
  return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _vectors(path, modality, arrays):
  """`[N, D]`; sequences become the mean of their steps."""
  x = arrays[f"x_{modality}"]
  if not np.issubdtype(x.dtype, np.number) and x.dtype != bool:
    raise types.InputError(
      f"{path}: 'x_{modality}' holds {x.dtype} values: give numbers."
    )
  if x.ndim == 2:
    return x
  if x.ndim != 3:
    raise types.InputError(
      f"{path}: 'x_{modality}' has shape {x.shape}: give [N, D] or [N, T, D]."
    )
  steps = x.shape[1]
  length = arrays.get(f"length_{modality}", np.full(len(x), steps))
  if length.shape != (len(x),):
    raise types.InputError(
      f"{path}: 'length_{modality}' has shape {length.shape}: give one length"
      f" for each of {len(x)} rows."
    )
  bad = np.flatnonzero((length < 1) | (length > steps))
  if len(bad):
    raise types.InputError(
      f"{path}: 'length_{modality}' of row {bad[0]} is {length[bad[0]]}: give 1"
      f" to {steps}, or mark the row absent with 'present_{modality}'."
    )
  inside = np.arange(steps) < length[:, None]
  total = np.where(inside[..., None], x, 0).sum(axis=1)
  return total / length[:, None]
