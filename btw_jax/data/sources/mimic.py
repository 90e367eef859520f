"""The stays in intensive care (MIMIC-IV) that FuseMoE's pipeline prepares.

`{train,val,test}_{task}[-missingInd]_stays.pkl` holds a list of stays, each a
mapping. There are five modalities. `vitals` are values at the times of their
measurement. `hourly` are the same values, carried forward from hour to hour,
followed by a mask. `notes` (the last five), `cxr` and `ecg` are features of one
network each. Hours are divided by 48.
"""

from collections.abc import Sequence
import pathlib

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fields
from btw_jax.data import padding
from btw_jax.data import pickles
from btw_jax.data.sources import mimic_tasks

_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_HOURS = 48
_NUM_VITALS = 30
_NUM_NOTES = 5
# Modality -> the name in its "missing" flag, the fields of its features and of
# its times, the width of a step, and the maximum number of steps.
_LISTS = {
  "notes": ("text", "text_embeddings", "text_time_to_end", 768, _NUM_NOTES),
  "cxr": ("cxr", "cxr_feats", "cxr_time", 1024, None),
  "ecg": ("ecg", "ecg_feats", "ecg_time", 256, None),
}


def load(
  *, path: str, task: str, missing: bool = False
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a folder.

  Args:
    path: the folder.
    task: a name of `mimic_tasks.TASKS`: mortality in hospital, length of stay
      in four classes or two, or 25 phenotypes.
    missing: read the files whose stays may lack modalities.

  Raises:
    InputError: if a file is missing, unreadable or of another format.
  """
  mimic_task = mimic_tasks.TASKS[task]
  files = {
    split: pathlib.Path(path, mimic_task.file_name(name, missing=missing))
    for split, name in _SPLITS.items()
  }
  return dataset_lib.deduplicate_ids(
    {split: _read_file(file, mimic_task) for split, file in files.items()},
    mimic_task.kind,
  )


def _read_file(file, task):
  stays = pickles.load(file)
  if not isinstance(stays, list):
    raise errors.InputError(
      f"{file}: holds a {type(stays).__name__}, not a list of stays: give a"
      " file of FuseMoE's pipeline."
    )
  stays = [
    fields.Fields(f"{file}, row {row}", "a stay", stay)
    for row, stay in enumerate(stays)
  ]
  measurements = [_measurements(stay) for stay in stays]
  sequences = {"vitals": _vitals(measurements), "hourly": _hourly(measurements)}
  sequences |= {m: _vectors(stays, *source) for m, source in _LISTS.items()}
  features, steps, present, replaced = {}, {}, {}, {}
  for modality, (x, modality_steps) in sequences.items():
    features[modality], replaced[modality] = padding.replace_non_finite(x)
    steps[modality] = modality_steps
    present[modality] = modality_steps.length > 0
  return dataset_lib.complete(
    features,
    np.array([_label(stay, task) for stay in stays]),
    ids=[_identifier(stay.get("stay_id")) for stay in stays],
    present=present,
    steps=steps,
    subjects=[_identifier(stay.get("name")) for stay in stays],
    replaced=replaced,
    name=str(file),
  )


def _measurements(stay):
  """Returns hours `[T]`, values and mask `[T, 30]` of vitals, by time."""
  hours = stay.array("ts_tt", 1).astype(np.float64)
  values, mask = stay.array("irg_ts", 2), stay.array("irg_ts_mask", 2)
  shape = (len(hours), _NUM_VITALS)
  for name, x in (("irg_ts", values), ("irg_ts_mask", mask)):
    if x.shape != shape:
      raise errors.InputError(
        f"{stay.name}: {name!r} has shape {x.shape}: give {shape}, a row for"
        " every hour of 'ts_tt'."
      )
  order = np.argsort(hours, kind="stable")
  return hours[order], values[order], mask[order] > 0


def _vitals(measurements):
  """Returns the vitals `[N, T, 30]` at the times of their measurement."""
  columns = zip(*measurements, strict=True) if measurements else ((), (), ())
  hours, values, masks = columns
  x, length = padding.pad(values, _NUM_VITALS)
  observed = padding.pad(masks, _NUM_VITALS)[0] > 0
  return x, dataset_lib.Steps(length, _scale_times(hours), observed)


def _hourly(measurements):
  """Returns `[N, 48, 60]`: vitals, carried forward hour by hour, and a mask.

  The mask is 1 in hours with a measurement; the latest of an hour counts.
  """
  num_stays = len(measurements)
  x = np.zeros((num_stays, _HOURS, 2 * _NUM_VITALS), np.float32)
  for row, measured in enumerate(measurements):
    values, mask = x[row, :, :_NUM_VITALS], x[row, :, _NUM_VITALS:]
    for hour, value, observed in zip(*measured, strict=True):
      if 0 <= hour < _HOURS:
        values[int(hour)][observed] = value[observed]
        mask[int(hour)][observed] = 1
    for hour in range(1, _HOURS):
      missing = mask[hour] == 0
      values[hour][missing] = values[hour - 1][missing]
  return x, dataset_lib.Steps(np.full(num_stays, _HOURS))


def _vectors(stays, name, features, times, width, max_steps):
  """Returns a modality `[N, T, width]` whose steps are vectors with times."""
  sequences = [
    _stay_vectors(stay, name, features, times, width, max_steps)
    for stay in stays
  ]
  hours, vectors = zip(*sequences, strict=True) if sequences else ((), ())
  x, length = padding.pad(vectors, width)
  return x, dataset_lib.Steps(length, _scale_times(hours))


def _stay_vectors(stay, name, features, times, width, max_steps):
  """Returns the hours `[T]` and vectors `[T, width]` of a stay, maybe none."""
  missing = np.zeros(0), np.zeros((0, width), np.float32)
  flag = f"{name}_missing"
  if flag in stay and stay.numbers(flag).any():
    return missing
  if features not in stay or _is_empty(stay.get(features)):
    return missing
  vectors, hours = stay.array(features, 2), stay.array(times, 1)
  if vectors.shape != (len(hours), width):
    raise errors.InputError(
      f"{stay.name}: {features!r} has shape {vectors.shape}: give"
      f" {(len(hours), width)}, a row for every time of {times!r}."
    )
  hours = hours.astype(np.float64)
  order = np.argsort(hours, kind="stable")[-max_steps if max_steps else None :]
  return hours[order], vectors[order]


def _is_empty(value):
  return hasattr(value, "__len__") and len(value) == 0


def _scale_times(hours: Sequence[np.ndarray]) -> np.ndarray:
  """Returns `[N, T]` hours / 48; times before admission become 0."""
  times = padding.pad([np.reshape(h, (-1, 1)) for h in hours], 1)[0][..., 0]
  return np.maximum(times, 0) / _HOURS


def _label(stay, task):
  """Returns the checked label of a stay, `[C]` for several labels."""
  label = stay.numbers("label")
  is_multilabel = task.kind == "multilabel"
  expected = task.num_labels if is_multilabel else 1
  if len(label) != expected:
    raise errors.InputError(
      f"{stay.name}: the label has {len(label)} values: give {expected}."
    )
  if not is_multilabel and not 0 <= label[0] < task.num_labels:
    raise errors.InputError(
      f"{stay.name}: the label is {label[0]}: give 0 to {task.num_labels - 1},"
      " or choose the data set whose task this file belongs to."
    )
  return label if is_multilabel else label[0]


def _identifier(value):
  """Returns an identifier as a string; the pipeline may store it as a float."""
  value = value.item() if isinstance(value, np.generic) else value
  is_whole = isinstance(value, float) and value.is_integer()
  return str(int(value)) if is_whole else str(value)
