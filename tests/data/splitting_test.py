import dataclasses

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from support import dataset_files


def test_held_out_examples_are_of_other_subjects_too(tmp_path):
  rng = np.random.default_rng(0)
  for split in ("train", "test"):
    subject = np.arange(40) // 4 if split == "train" else np.arange(40) // 8
    np.savez(
      tmp_path / f"{split}.npz", x_a=rng.normal(size=(40, 2)),
      y=np.arange(40) % 2, subject=subject,
      id=[f"{split}{i}" for i in range(40)],
    )  # fmt: skip
  dataset = dataset_files.load(
    "npz", tmp_path, split_by="subject", valid_share=0.3
  )
  sizes = {s: len(set(e.subjects)) for s, e in dataset.splits.items()}
  # Ten subjects: 3.5 train, 5 test and 1.5 valid, rounded.
  assert sizes == {"train": 4, "valid": 2, "test": 4}
  subjects = [s for e in dataset.splits.values() for s in set(e.subjects)]
  assert len(subjects) == len(set(subjects))
  np.savez(tmp_path / "test.npz", x_a=np.ones((3, 2)), y=[0, 1, 0], subject=[1])
  with pytest.raises(
    errors.InputError, match=r"'subject' has shape \(1,\): giv"
  ):
    dataset_files.load("npz", tmp_path)


def test_subjects_on_both_sides_are_told_and_can_be_parted(tmp_path):
  dataset_files.mimic(tmp_path, overlap=True)
  dataset = dataset_files.load("mimic_ihm", tmp_path)
  notes = " ".join(dataset.notes)
  assert "1 subjects are in train and in valid" in notes
  assert "see --split_by=subject" in notes
  every = {s: set(e.subjects) for s, e in dataset.splits.items()}
  assert every["train"] & every["valid"]

  parted = [
    dataset_files.load("mimic_ihm", tmp_path, split_by="subject", seed=s)
    for s in (0, 0, 1)
  ]
  ids = [{s: list(e.ids) for s, e in d.splits.items()} for d in parted]
  assert ids[0] == ids[1] != ids[2]
  for dataset in parted:
    subjects = [set(e.subjects) for e in dataset.splits.values()]
    assert not subjects[0] & subjects[1]
    assert not subjects[0] & subjects[2]
    assert not subjects[1] & subjects[2]
    assert sum(len(e) for e in dataset.splits.values()) == sum(
      dataset_files.SIZES.values()
    )
    assert "drawn by subject" in " ".join(dataset.notes)
    assert not any("subjects are in" in note for note in dataset.notes)
  assert not any("held out" in note for note in dataset.notes)
  # Clips of one video have one subject, in the held-out splits too.
  dataset_files.mmim(tmp_path)
  parted = dataset_files.load("mmim_mosi", tmp_path, split_by="subject")
  subjects = [set(e.subjects) for e in parted.splits.values()]
  assert not subjects[0] & subjects[2]
  with pytest.raises(
    errors.InputError, match="--split_by=subject: the data name"
  ):
    assembly.load("digits", catalog.Options(split_by="subject"))


def test_held_out_examples_are_the_same_on_disk_and_in_memory(tmp_path):
  rng = np.random.default_rng(0)
  for split, n in (("train", 60), ("test", 20)):
    np.savez(
      tmp_path / f"{split}.npz", x_a=rng.normal(size=(n, 3)), y=np.arange(n) % 2
    )
  dataset_files.prepare("npz", tmp_path, tmp_path / "out")
  options = catalog.Options(data_dir=str(tmp_path / "out"), seed=3)
  memory, disk = (
    assembly.load("tfds:npz", dataclasses.replace(options, stream=s))
    for s in (False, True)
  )
  for split in memory.splits:
    np.testing.assert_array_equal(
      memory.splits[split].ids, disk.splits[split].ids
    )
  assert memory.drawn
  assert "12 of 60 training examples held out" in " ".join(disk.notes)
