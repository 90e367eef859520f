import numpy as np

from btw_jax.data import builders
from btw_jax.data import catalog
from btw_jax.data import prepared
from support import dataset_files

_OPTIONS = catalog.Options(average_steps=False)


def test_a_split_has_several_files_and_any_order(tmp_path, monkeypatch):
  monkeypatch.setattr(builders, "_SHARD_BYTES", 4 * 64 * 50 * 768)
  path, content = dataset_files.mmsa(tmp_path)
  dataset_files.prepare("mmsa_mosi", path, tmp_path / "out")
  folder = prepared.find(str(tmp_path / "out"), "mmsa_mosi")
  assert len(list(folder.glob("*train*record*"))) == 1
  monkeypatch.setattr(builders, "_SHARD_BYTES", 4 * 4 * 50 * 900)
  again = builders.make(
    "mmsa_mosi", str(path), str(tmp_path / "out"), _OPTIONS, overwrite=True
  )
  builders.prepare(again, str(tmp_path / "scratch"))
  assert len(list(folder.glob("*train*record*"))) == 3
  reader = prepared.open_records(str(tmp_path / "out"), "mmsa_mosi").readers
  order = np.random.default_rng(0).permutation(dataset_files.SIZES["train"])
  examples = reader["train"].read(order)
  expected = content["train"]["regression_labels"][order]
  np.testing.assert_array_equal(examples.target, expected)
  index = reader["train"].index(order)
  np.testing.assert_array_equal(index.target, expected)
  np.testing.assert_array_equal(
    index.length["audio"], examples.steps["audio"].length
  )
  short = reader["train"].read(order[:3], {"text": 50, "audio": 70})
  assert short.features["audio"].shape == (3, 70, 74)
