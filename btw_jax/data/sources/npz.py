"""The loader of your own arrays: one `.npz` file per split.

`{train,valid,test}.npz` hold `x_<modality>` (`[N, D]` or `[N, T, D]`) and `y`
(`[N]` or `[N, C]`). Optional fields are `present_<modality>` (`[N]` 0/1), `id`
(`[N]`) and `subject` (`[N]`, the subject of each example). A sequence modality
may also have `length_<modality>` (`[N]`), `time_<modality>` (`[N, T]`, from 0
on, ascending) and `observed_<modality>` (`[N, T, D]` 0/1).
"""

import pathlib

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import npz_file

_FIELDS = ("y", "id", "subject")
_OF_MODALITIES = ("x_", "length_", "present_", "time_", "observed_")


def load(*, path: str, labelled: bool = True) -> dataset_lib.LoadedSplits:
  """Reads every split that has a file in the folder `path`; gives no task.

  If `path` is a file, it is the test split. `labelled` requires targets.

  Raises:
    InputError: if there is no file, or a file is unreadable or lacks a field.
  """
  folder = pathlib.Path(path)
  if folder.is_file():
    return dataset_lib.LoadedSplits({"test": _read_file(folder, labelled)})
  paths = {s: folder / f"{s}.npz" for s in dataset_lib.SPLITS}
  existing = {s: file for s, file in paths.items() if file.exists()}
  if not existing:
    raise errors.InputError(
      f"{folder}: holds none of {', '.join(p.name for p in paths.values())}:"
      " name the folder that holds them."
    )
  return dataset_lib.LoadedSplits(
    {split: _read_file(file, labelled) for split, file in existing.items()}
  )


def _read_file(path: pathlib.Path, labelled: bool) -> dataset_lib.Examples:
  remedy = "write it again with numpy.savez, without object arrays"
  arrays = npz_file.load(path, remedy, _is_field)
  arrays = {name: _plain(path, name, x) for name, x in arrays.items()}
  if labelled and "y" not in arrays:
    raise errors.InputError(
      f"{path}: has no field 'y': add the targets, or use the program predict."
    )
  modalities = [f[2:] for f in arrays if f.startswith("x_")]
  if not modalities:
    raise errors.InputError(
      f"{path}: has no field 'x_<modality>': add one per modality."
    )
  features = {m: _values(path, m, arrays) for m in modalities}
  steps = {
    m: _steps(path, m, arrays, x) for m, x in features.items() if x.ndim == 3
  }
  target = arrays.get("y")
  rows = (len(next(iter(features.values()))),)
  return dataset_lib.complete(
    features,
    target,
    ids=arrays.get("id"),
    present={
      m: arrays[f"present_{m}"] for m in modalities if f"present_{m}" in arrays
    },
    steps=steps,
    subjects=_field(path, "subject", arrays, rows),
    name=str(path),
  )


def _is_field(name):
  """Returns True for the name of a field; others are not read."""
  return name in _FIELDS or name.startswith(_OF_MODALITIES)


def _plain(path, name, array):
  """Returns `[N, 1]` or `[N, 1, 1]` as `[N]`, and UTF-8 as text.

  Features, and what has their shape, keep it.
  """
  if array.dtype.kind == "S":
    try:
      array = np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
      raise errors.InputError(
        f"{path}: {name!r} holds bytes that are not UTF-8: give strings."
      ) from error
  is_of_steps = name.startswith(("x_", "time_", "observed_"))
  if array.ndim > 1 and array[:1].size == len(array[:1]) and not is_of_steps:
    return array.reshape(-1)
  return array


def _values(path, modality, arrays):
  """Returns the checked `[N, D]` or `[N, T, D]` features of a modality."""
  x = arrays[f"x_{modality}"]
  if x.dtype.kind not in "fiub":
    raise errors.InputError(
      f"{path}: 'x_{modality}' holds {x.dtype} values: give numbers, and a"
      " complex one as two."
    )
  if x.ndim not in (2, 3):
    raise errors.InputError(
      f"{path}: 'x_{modality}' has shape {x.shape}: give [N, D] or [N, T, D]."
    )
  return x


def _steps(path, modality, arrays, x):
  """Returns the checked lengths, times and mask of a sequence `[N, T, D]`."""
  length = _field(path, f"length_{modality}", arrays, x.shape[:1])
  if length is None:
    length = np.full(len(x), x.shape[1])
  present = arrays.get(f"present_{modality}", np.ones(len(x), bool))
  wrong = (length < 1) | (length > x.shape[1])
  bad = np.flatnonzero(wrong & present.astype(bool)[: len(x)])
  if len(bad):
    raise errors.InputError(
      f"{path}: 'length_{modality}' of row {bad[0]} is {length[bad[0]]}: give 1"
      f" to {x.shape[1]}, or mark the row absent with 'present_{modality}'."
    )
  times = _field(path, f"time_{modality}", arrays, x.shape[:2])
  observed = _field(path, f"observed_{modality}", arrays, x.shape)
  if observed is not None:
    observed = observed.astype(bool)
  return dataset_lib.Steps(length, times, observed)


def _field(path, name, arrays, shape):
  """Returns an optional field after a check of its shape, or None."""
  array = arrays.get(name)
  if array is not None and array.shape != shape:
    reference = f"x_{name.partition('_')[2]}" if "_" in name else "x"
    raise errors.InputError(
      f"{path}: '{name}' has shape {array.shape}: give {shape}, as in"
      f" '{reference}'."
    )
  return array
