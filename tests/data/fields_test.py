import pytest

from btw_jax import errors
from support import dataset_files


def test_another_files_pickle_is_named(tmp_path):
  path = dataset_files.dump(tmp_path / "aligned_50.pkl", [1, 2])
  for name in ("mmsa_mosi", "multibench_mosi"):
    with pytest.raises(
      errors.InputError, match="holds a list, not named fields"
    ):
      dataset_files.load(name, path)
  dataset_files.dump(tmp_path / "aligned_50.pkl", {"train": {}, "test": {}})
  with pytest.raises(
    errors.InputError, match="has no field 'regression_labels'"
  ):
    dataset_files.load("mmsa_mosi", path)
  with pytest.raises(errors.InputError, match="has no field 'labels'.*nothing"):
    dataset_files.load("multibench_mosi", path)
  dataset_files.dump(tmp_path / "train.pkl", {"a": 1})
  with pytest.raises(
    errors.InputError, match="holds a dict, not a list of exam"
  ):
    dataset_files.load("mmim_mosi", tmp_path)
  with pytest.raises(
    errors.InputError, match=r"train_ihm.*_stays.pkl: no such f"
  ):
    dataset_files.load("mimic_ihm", tmp_path)
