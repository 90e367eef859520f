import os
import pickle

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly


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
