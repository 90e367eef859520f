import dataclasses

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import dataset
from btw_jax.data import labels
from support import dataset_files


def _load(tmp_path, values, **options):
  """Loads a data set whose labels 0, 1, ... are replaced by `values`."""
  for split in ("train", "valid", "test"):
    arrays = dataset_files.arrays()
    codes = np.arange(len(arrays["y"])) % len(values)
    np.savez(
      tmp_path / f"{split}.npz", **arrays | {"y": np.array(values)[codes]}
    )
  options = catalog.Options(data_dir=str(tmp_path), **options)
  return assembly.load("npz", options)


@pytest.mark.parametrize(
  ("values", "task", "classes"),
  [
    ([-1, 1], "binary", (-1, 1)),
    ([255, 0], "binary", (0, 255)),
    ([True, False], "binary", (False, True)),
    ([1.0, 2.0, 3.0], "multiclass", (1, 2, 3)),
    ([4280, 41401, 5849], "multiclass", (4280, 5849, 41401)),
    (["sad", "glad", "mad"], "multiclass", ("glad", "mad", "sad")),
    (["yes", "no"], "binary", ("no", "yes")),
  ],
)
def test_classes_are_the_values_of_the_training_labels(
  tmp_path, values, task, classes
):
  loaded = _load(tmp_path, values)
  assert (loaded.task, loaded.classes) == (task, classes)
  assert loaded.num_classes == (1 if task == "binary" else len(classes))
  order = sorted(values)
  for examples in loaded.splits.values():
    expected = [order.index(values[i % len(values)]) for i in range(20)]
    np.testing.assert_array_equal(examples.target, expected)
    assert examples.target.dtype == np.int32


def test_names_are_noted_and_plain_numbers_are_not(tmp_path):
  assert "classes: no, yes" in _load(tmp_path, ["yes", "no"]).notes
  notes = _load(tmp_path, [0, 1, 2]).notes
  assert not [note for note in notes if note.startswith("classes")]


def _refuse(target, task, classes, message):
  examples = dataset.complete(
    {"a": np.zeros((len(target), 1))}, np.array(target), name="file"
  )
  with pytest.raises(errors.InputError, match=message) as error:
    labels.encode(examples, task, classes)
  assert "\n" not in str(error.value)


def test_labels_that_do_not_fit_are_named():
  _refuse(["a", "c"], "binary", ("a", "b"), "file: the label of row 1 is c")
  _refuse([0, 1, 0.5], "binary", (0, 1), "label of row 2 is 0.5, but bin")
  _refuse([0, 1, 2], "binary", (0, 1, 2), "has two classes: set --task")
  _refuse(["a"], "regression", (), "target of row 0 is 'a': give numbers")
  _refuse([[0, 1], [2, 0]], "multilabel", (0, 1), "label of row 1 is .2 0.")
  _refuse([[0, 1]], "multilabel", (0,), "has 2 labels per row, but the model")
  _refuse([0, 1], "multilabel", (0, 1), "has shape .2,., which does no")


def test_a_model_reads_labels_by_the_names_it_was_trained_on(tmp_path):
  loaded = _load(tmp_path, ["b", "a", "c"])
  options = catalog.Options(data_dir=str(tmp_path), task=loaded.task)
  # A split of its own in which class "a" does not occur.
  arrays = dataset_files.arrays()
  np.savez(tmp_path / "test.npz", **arrays | {"y": np.array(["b", "c"] * 10)})
  test = assembly.load_split("npz", options, "test", loaded.classes)
  np.testing.assert_array_equal(test.target, [1, 2] * 10)


def test_examples_without_labels_are_read_if_none_are_needed(tmp_path):
  _load(tmp_path, [0, 1])
  arrays = dataset_files.arrays()
  del arrays["y"]
  np.savez(tmp_path / "test.npz", **arrays)
  options = catalog.Options(data_dir=str(tmp_path), task="binary")
  with pytest.raises(errors.InputError, match=r"has no field 'y'"):
    assembly.load_split("npz", options, "test", (0, 1))
  options = dataclasses.replace(options, labelled=False)
  for path in (tmp_path, tmp_path / "test.npz"):
    options = dataclasses.replace(options, data_dir=str(path))
    test = assembly.load_split("npz", options, "test", (0, 1))
    assert test.target is None
    assert len(test) == len(test.take(np.arange(20))) == 20
