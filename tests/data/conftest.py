"""The fixtures that write data sets to folders."""

import numpy as np
import pytest

from btw_jax.data import catalog
from support import dataset_files


@pytest.fixture
def write(tmp_path):
  """Writes train, valid and test with some fields replaced or dropped."""

  def write(split="train", **changes):
    for name in ("train", "valid", "test"):
      arrays = dataset_files.arrays(seed=len(name))
      if name == split:
        arrays |= changes
      arrays = {k: v for k, v in arrays.items() if v is not None}
      np.savez(tmp_path / f"{name}.npz", **arrays)
    return catalog.Options(data_dir=str(tmp_path))

  return write


@pytest.fixture
def stays(tmp_path):
  """Returns the options of a prepared data set of irregular sequences."""
  dataset_files.mimic(tmp_path, "los", missing=True)
  dataset_files.prepare("mimic_los_missing", tmp_path, tmp_path / "out")
  return catalog.Options(
    data_dir=str(tmp_path / "out"), average_steps=False, stream=True
  )
