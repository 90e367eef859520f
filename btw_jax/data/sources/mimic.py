"""Stays in intensive care (MIMIC-IV) as FuseMoE's pipeline prepares them.

`{train,val,test}_{task}[-missingInd]_stays.pkl`: a list of stays, each a
mapping. Five modalities, the first two of them views of one: `vitals` at the
times of their measurement, `hourly` the same carried forward from hour to hour
with a mask behind the values, the last five `notes`, `cxr` and `ecg`, the last
three as features of one network each. Hours are divided by 48.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import fields
from btw_jax.data import padding
from btw_jax.data import pickles

_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_HOURS = 48
_NUM_VITALS = 30
_NUM_NOTES = 5
# Modality -> its fields of features and times, features of a step, most steps.
_LISTS = {
  "notes": ("text", "text_embeddings", "text_time_to_end", 768, _NUM_NOTES),
  "cxr": ("cxr", "cxr_feats", "cxr_time", 1024, None),
  "ecg": ("ecg", "ecg_feats", "ecg_time", 256, None),
}


@dataclasses.dataclass(frozen=True)
class Task:
  """What is to be predicted.

  Attributes:
    file: what the names of its files hold.
    kind: name of the task.
    num_labels: values of a label, or labels of a stay.
  """

  file: str
  kind: str
  num_labels: int


TASKS = {
  "ihm": Task("ihm-48-cxr-notes-ecg", "binary", 2),
  "los": Task("los-48-cxr-notes-ecg", "multiclass", 4),
  "los_binary": Task("los-48-cxr-notes-ecg", "binary", 2),
  "pheno": Task("pheno-all-cxr-notes-ecg", "multilabel", 25),
}


def load(
  *, path: str, task: str, missing: bool = False
) -> dataset_lib.LoadedSplits:
  """Reads the splits of a folder.

  Args:
    path: of the folder.
    task: a name of `TASKS`: mortality in hospital, length of stay in four
      classes or two, 25 phenotypes.
    missing: read the stays that may lack modalities.

  Returns:
    The splits and the task.

  Raises:
    InputError: if a file is missing, unreadable or of another format.
  """
  chosen = TASKS[task]
  suffix = "-missingInd" if missing else ""
  names = {
    split: f"{name}_{chosen.file}{suffix}_stays.pkl"
    for split, name in _SPLITS.items()
  }
  return dataset_lib.deduplicate_ids(
    {s: _examples(pathlib.Path(path) / n, chosen) for s, n in names.items()},
    chosen.kind,
  )


def _examples(file, task):
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
  measured = [_measured(stay) for stay in stays]
  parts = {"vitals": _vitals(measured), "hourly": _hourly(measured)}
  parts |= {m: _listed(stays, *how) for m, how in _LISTS.items()}
  features, steps, present, replaced = {}, {}, {}, {}
  for modality, (x, own) in parts.items():
    features[modality], replaced[modality] = padding.finite(x)
    steps[modality], present[modality] = own, own.length > 0
  return dataset_lib.complete(
    features,
    np.array([_label(stay, task) for stay in stays]),
    ids=[_name(stay.get("stay_id")) for stay in stays],
    present=present,
    steps=steps,
    subjects=[_name(stay.get("name")) for stay in stays],
    replaced=replaced,
    name=str(file),
  )


def _measured(stay):
  """Times, values and mask of a stay's vitals, in order of time."""
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


def _vitals(stays):
  hours, values, masks = zip(*stays, strict=True) if stays else ((), (), ())
  x, length = padding.pad(values, _NUM_VITALS)
  observed = padding.pad(masks, _NUM_VITALS)[0] > 0
  return x, dataset_lib.Steps(length, _clock(hours), observed)


def _hourly(stays):
  """`[N, 48, 60]`: the latest value of every hour or before, and its mask."""
  x = np.zeros((len(stays), _HOURS, 2 * _NUM_VITALS), np.float32)
  for row, measured in enumerate(stays):
    values, mask = x[row, :, :_NUM_VITALS], x[row, :, _NUM_VITALS:]
    for hour, value, seen in zip(*measured, strict=True):
      if 0 <= hour < _HOURS:
        values[int(hour)][seen] = value[seen]
        mask[int(hour)][seen] = 1
    for hour in range(1, _HOURS):
      gone = mask[hour] == 0
      values[hour][gone] = values[hour - 1][gone]
  return x, dataset_lib.Steps(np.full(len(stays), _HOURS))


def _listed(stays, name, features, times, width, most):
  """A modality given as a list of vectors, each with its time."""
  every = [
    _one_listed(stay, name, features, times, width, most) for stay in stays
  ]
  hours, vectors = zip(*every, strict=True) if every else ((), ())
  x, length = padding.pad(vectors, width)
  return x, dataset_lib.Steps(length, _clock(hours))


def _one_listed(stay, name, features, times, width, most):
  nothing = np.zeros(0), np.zeros((0, width), np.float32)
  flag = f"{name}_missing"
  if flag in stay and np.ravel(stay.get(flag)).astype(float).any():
    return nothing
  if features not in stay or len(stay.get(features)) == 0:
    return nothing
  vectors, hours = stay.array(features, 2), stay.array(times, 1)
  if vectors.shape != (len(hours), width):
    raise errors.InputError(
      f"{stay.name}: {features!r} has shape {vectors.shape}: give"
      f" {(len(hours), width)}, a row for every time of {times!r}."
    )
  hours = hours.astype(np.float64)
  order = np.argsort(hours, kind="stable")[-most if most else None :]
  return hours[order], vectors[order]


def _clock(hours: Sequence[np.ndarray]) -> np.ndarray:
  """`[N, T]` shares of 48 hours; what was before admission counts as hour 0."""
  times = padding.pad([np.reshape(h, (-1, 1)) for h in hours], 1)[0][..., 0]
  return np.maximum(times, 0) / _HOURS


def _label(stay, task):
  label = np.ravel(stay.array("label", np.ndim(stay.get("label"))))
  several = task.kind == "multilabel"
  if len(label) != (task.num_labels if several else 1):
    raise errors.InputError(
      f"{stay.name}: the label has {len(label)} values: give"
      f" {task.num_labels if several else 1}."
    )
  if not several and not 0 <= label[0] < task.num_labels:
    raise errors.InputError(
      f"{stay.name}: the label is {label[0]}: give 0 to {task.num_labels - 1},"
      " or choose the source whose task this file is of."
    )
  return label if several else label[0]


def _name(value):
  """An identifier, which the pipeline may hold as a float."""
  value = value.item() if isinstance(value, np.generic) else value
  whole = isinstance(value, float) and value.is_integer()
  return str(int(value)) if whole else str(value)
