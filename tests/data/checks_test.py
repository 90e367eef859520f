"""Wrong data sets raise an error of one line."""

import dataclasses

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from support import dataset_files


def _with(array, row, value):
  array = np.array(array)
  array[row] = value
  return array


BAD = {
  "not finite": (
    {"x_text": _with(dataset_files.arrays()["x_text"], (7, 1), np.nan)},
    r"train.npz: modality 'text', row 7, column 1 is nan: replace it",
  ),
  "infinite": (
    {"x_audio": _with(dataset_files.arrays()["x_audio"], (3, 0), -np.inf)},
    r"train.npz: modality 'audio', row 3, column 0 is -inf",
  ),
  "lengths": (
    {"x_text": np.zeros((19, 3))},
    r"modality 'text' has 19 rows but there are 20 targets in .*train.npz",
  ),
  "presence length": (
    {"present_text": np.ones(3)},
    r"modality 'text' has 3 presence values but there are 20 targets",
  ),
  "duplicate id": (
    {"id": _with(dataset_files.arrays()["id"], 9, "clip4")},
    r"train.npz: id 'clip4' of row 9 is also the id of row 4",
  ),
  "id count": (
    {"id": np.arange(5)},
    r"train.npz: 5 ids for 20 examples of split 'train'",
  ),
  "target not finite": (
    {"y": _with(np.linspace(0, 1, 20), 6, np.inf)},
    r"train.npz: the target of row 6 is inf",
  ),
  "target beyond float32": (
    {"y": _with(np.linspace(0, 1, 20), 6, 1e300)},
    r"the target of row 6 is 1e\+300: give a finite number up to 1e\+30",
  ),
  "constant target": (
    {"y": np.ones(20)},
    r"train.npz: every training target is 1",
  ),
  "constant modality": (
    {"x_text": np.full((20, 3), 2.0)},
    r"train.npz: modality 'text' is constant over the training split",
  ),
  "absent everywhere": (
    {"present_audio": np.zeros(20)},
    r"modality 'audio' is absent from every example of split 'train'",
  ),
  "empty": (
    {
      "x_text": np.zeros((0, 3)),
      "x_audio": np.zeros((0, 2)),
      "y": np.zeros(0),
      "id": None,
    },
    r"train.npz: split 'train' has no examples",
  ),
  "no target": ({"y": None}, r"train.npz: has no field 'y'"),
  "no modality": (
    {"x_text": None, "x_audio": None},
    r"train.npz: has no field 'x_<modality>'",
  ),
  "objects": (
    {"y": np.array([None] * 20, object)},
    r"train.npz: cannot be read as npz .'y' holds objects.: write it again",
  ),
  "length out of range": (
    {"x_text": np.ones((20, 4, 3)), "length_text": np.full(20, 5)},
    r"train.npz: 'length_text' of row 0 is 5: give 1 to 4",
  ),
  "text features": (
    {"x_text": np.full((20, 3), "a")},
    r"train.npz: 'x_text' holds <U1 values: give numbers",
  ),
  "shape": (
    {"x_text": np.zeros(20)},
    r"train.npz: 'x_text' has shape \(20,\): give \[N, D\] or \[N, T, D\]",
  ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(write, case):
  changes, message = BAD[case]
  with pytest.raises(errors.InputError, match=message) as error:
    assembly.load("npz", write(**changes))
  assert "\n" not in str(error.value)


def test_labels_out_of_range_are_named(write):
  options = write("test", y=_with(np.arange(20) % 2, 5, 3))
  with pytest.raises(
    errors.InputError,
    match=r"test.npz: the label of row 5 is 3, but the t",
  ):
    assembly.load("npz", options)


def _summarised(name, options):
  assembly.summarise(catalog.read(name, options))


def _by_subject(name, options):
  assembly.load(name, dataclasses.replace(options, split_by="subject"))


@pytest.mark.parametrize("use", [assembly.load, _summarised, _by_subject])
def test_splits_must_be_alike(write, use):
  options = write("valid", x_audio=np.random.default_rng(0).random((20, 4)))
  with pytest.raises(
    errors.InputError,
    match=r"valid.npz: modality 'audio' has 4 features, but 2",
  ):
    use("npz", options)
  options = write("valid", x_audio=None)
  with pytest.raises(
    errors.InputError,
    match=r"valid.npz: split 'valid' has no modality 'audio', but 'train' has",
  ):
    use("npz", options)
  options = write("valid", x_smell=np.ones((20, 4)))
  with pytest.raises(
    errors.InputError, match="'train' has no modality 'smell', but 'valid' has"
  ):
    use("npz", options)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"length_text": np.arange(19)},
      r"train.npz: 'length_text' has shape \(19,\): give \(20,\), as in",
    ),
    (
      {"observed_text": np.ones((20, 4), bool)},
      r"'observed_text' has shape \(20, 4\): give \(20, 4, 3\)",
    ),
    (
      {"time_text": np.tile([0.0, 1.0, 0.5, 2.0], (20, 1))},
      r"modality 'text', row 2, step 2 was taken at 0.5: give finite times",
    ),
    (
      {"time_text": np.tile([-1.0, 1.0, 2.0, 3.0], (20, 1))},
      r"'text', row 0, step 0 was taken at -1.0: give finite times from 0 on",
    ),
  ],
)
def test_wrong_steps_are_named(write, changes, message):
  with pytest.raises(errors.InputError, match=message) as error:
    assembly.load("npz", write(**{**dataset_files.sequence(), **changes}))
  assert "\n" not in str(error.value)


def test_a_step_that_is_not_finite_is_named(write):
  fields = dataset_files.sequence(irregular=False)
  fields["x_text"][6, 1, 2] = np.nan
  message = r"modality 'text', row 6, step 1, column 2 is nan: replace it"
  with pytest.raises(errors.InputError, match=message):
    assembly.load("npz", write(**fields))
  # Padding and unobserved values may be anything.
  fields["x_text"][6, 1, 2] = 0.0
  fields["x_text"][0, 3, 2] = np.nan
  assembly.load("npz", write(**fields))


def test_splits_must_agree_in_steps(write):
  options = dataclasses.replace(
    write(**dataset_files.sequence(irregular=False)), average_steps=False
  )
  message = r"valid.npz: modality 'text' has 3 features, but 4 steps of 3 feat"
  with pytest.raises(errors.InputError, match=message):
    assembly.load("npz", options)
