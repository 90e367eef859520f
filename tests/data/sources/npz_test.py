import os
import pickle
import zipfile

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import limits
from support import dataset_files


def test_a_pickle_in_an_archive_is_never_run(write, tmp_path):
  marker = tmp_path / "ran"

  class Attack:
    def __reduce__(self):
      return os.system, (f"touch {marker}",)

  attack = np.empty(20, object)
  attack[:] = Attack()
  options = write(y=attack)
  with pytest.raises(errors.InputError, match="cannot be read as npz"):
    assembly.load("npz", options)
  assert not marker.exists()
  # A bare pickle under the right name is refused too.
  (tmp_path / "train.npz").write_bytes(pickle.dumps(Attack()))
  with pytest.raises(errors.InputError, match="cannot be read as npz"):
    assembly.load("npz", options)
  assert not marker.exists()


def test_truncated_archives_are_named(write, tmp_path):
  options = write()
  content = (tmp_path / "train.npz").read_bytes()
  (tmp_path / "train.npz").write_bytes(content[: len(content) // 2])
  with pytest.raises(errors.InputError, match="train.npz: cannot be read"):
    assembly.load("npz", options)


def test_a_field_that_nothing_reads_is_not_unpacked(tmp_path, monkeypatch):
  """A packed field of zeros takes a thousandth of its size."""
  monkeypatch.setattr(limits, "FREE_BYTES", 2**16)
  monkeypatch.setattr(limits, "MAX_RATIO", 2)
  for split in ("train", "valid", "test"):
    arrays = dataset_files.arrays(seed=len(split))
    np.savez_compressed(tmp_path / f"{split}.npz", **arrays, z=np.zeros(10**6))
  assert len(dataset_files.load("npz", tmp_path).splits["train"]) == 20
  np.savez_compressed(tmp_path / "valid.npz", x_a=np.zeros((10**4, 9)), y=[0])
  with pytest.raises(errors.InputError, match="valid.npz: unpacks to more tha"):
    dataset_files.load("npz", tmp_path)


def test_an_array_has_as_many_values_as_it_says(tmp_path):
  for split in ("train", "valid", "test"):
    np.savez(tmp_path / f"{split}.npz", **dataset_files.arrays())
  path = tmp_path / "test.npz"
  with zipfile.ZipFile(path) as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  shape = members["x_text.npy"]
  members["x_text.npy"] = shape.replace(b"(20, 3), }  ", b"(9999999,3)}", 1)
  assert members["x_text.npy"] != shape
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  with pytest.raises(errors.InputError, match=r"'x_text' has the shape .99999"):
    dataset_files.load("npz", tmp_path)


def test_a_pipe_is_refused(tmp_path):
  os.mkfifo(tmp_path / "train.npz")
  with pytest.raises(errors.InputError, match="train.npz: is a pipe or a dev"):
    dataset_files.load("npz", tmp_path)
