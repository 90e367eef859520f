"""The tests of assembling data sets from their sources."""

import pathlib

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import scaling
from support import dataset_files


def test_unknown_names_are_listed(write):
  options = write()
  with pytest.raises(errors.InputError, match="--dataset=mosi: .*digits, diab"):
    assembly.load("mosi", options)
  wrong = catalog.Options(data_dir=options.data_dir, modalities=("video",))
  with pytest.raises(
    errors.InputError, match="'video' is unknown: use some of"
  ):
    assembly.load("npz", wrong)
  with pytest.raises(errors.InputError, match="set --data_dir"):
    assembly.load("npz", catalog.Options())
  with pytest.raises(errors.InputError, match="=/nowhere: there is no such"):
    assembly.load("npz", catalog.Options(data_dir="/nowhere"))


def test_a_missing_split_is_named(write, tmp_path):
  options = write()
  (tmp_path / "test.npz").unlink()
  with pytest.raises(
    errors.InputError, match=r"no 'test' split: add it \(test.npz\)"
  ):
    assembly.load("npz", options)


def test_tasks_are_inferred_and_can_be_set(write):
  rng = np.random.default_rng(0)
  for y, task, classes in (
    (np.arange(20) % 2, "binary", 1),
    (np.arange(20) % 3, "multiclass", 3),
    (rng.normal(size=20), "regression", 1),
    (np.arange(60).reshape(20, 3) % 2, "multilabel", 3),
  ):
    options = write(y=y)
    # Every split has the same labels.
    for split in ("valid", "test"):
      path = pathlib.Path(options.data_dir, f"{split}.npz")
      np.savez(path, **{**dataset_files.arrays(seed=1), "y": y})
    dataset = assembly.load("npz", options)
    assert (dataset.task, dataset.num_classes) == (task, classes)
  counts = catalog.Options(data_dir=options.data_dir, task="regression")
  with pytest.raises(errors.InputError, match="does not fit --task=regression"):
    assembly.load("npz", counts)


def test_sequences_become_the_mean_of_their_steps(write):
  x = np.random.default_rng(0).normal(size=(20, 4, 3))
  length = np.arange(20) % 4 + 1
  dataset = assembly.load("npz", write(x_text=x, length_text=length))
  means = dataset.splits["train"].features["text"]
  for i in range(20):
    np.testing.assert_allclose(means[i], x[i, : length[i]].mean(0), rtol=1e-5)


def test_held_out_validation_is_seeded_disjoint_and_said(write, tmp_path):
  options = write()
  (tmp_path / "valid.npz").unlink()
  first, again = (assembly.load("npz", options) for _ in range(2))
  other = assembly.load("npz", catalog.Options(options.data_dir, seed=1))
  ids = [set(d.splits["valid"].ids) for d in (first, again, other)]
  assert ids[0] == ids[1] != ids[2]
  assert len(ids[0]) == 4
  assert not ids[0] & set(first.splits["train"].ids)
  assert "4 of 20 training examples held out" in " ".join(first.notes)
  assert first.drawn
  assert not assembly.load("npz", write()).drawn


def test_real_mosi_reads_in_both_forms(mosi):
  npz = assembly.load("npz", catalog.Options(data_dir=str(mosi / "npz")))
  assert [len(e) for e in npz.splits.values()] == [1447, 244, 508]
  assert dict(zip(npz.modalities, npz.widths, strict=True)) == {
    "text": 100, "audio": 73, "video": 100,
  }  # fmt: skip
  csv = assembly.load("csv", catalog.Options(data_dir=str(mosi)))
  assert len(csv.splits["test"]) == 752
  assert len(csv.splits["train"]) + len(csv.splits["valid"]) == 1447
  constant = scaling.fit(csv).inverse_std[csv.modalities.index("video"), :100]
  assert np.sum(constant == 0) >= 32


def test_averages_are_of_what_was_observed(write):
  fields = dataset_files.sequence()
  means = assembly.load("npz", write(**fields)).splits["train"].features["text"]
  for i in range(20):
    for d in range(3):
      seen = [
        fields["x_text"][i, t, d]
        for t in range(fields["length_text"][i])
        if fields["observed_text"][i, t, d]
      ]
      np.testing.assert_allclose(
        means[i, d], np.mean(seen) if seen else 0, rtol=1e-5
      )


def test_rows_that_do_not_line_up_are_named_before_anything_is_said(tmp_path):
  for split in ("train", "test"):
    np.savez(tmp_path / f"{split}.npz", x_a=np.ones((4, 2)), y=np.arange(5) % 2)
  with pytest.raises(errors.InputError, match="'a' has 4 rows but there are 5"):
    assembly.summarise(
      catalog.read("npz", catalog.Options(data_dir=str(tmp_path)))
    )
