import dataclasses

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import prepared
from support import dataset_files

_OPTIONS = catalog.Options(average_steps=False)


SOURCES = {
  "mmsa_mosei": lambda folder: dataset_files.mmsa(folder, aligned=False)[0],
  "multibench_mosi": lambda folder: dataset_files.multibench(folder)[0],
  "mmim_mosi": lambda folder: dataset_files.mmim(folder) and folder,
  "mimic_pheno_missing": lambda folder: (
    dataset_files.mimic(folder, "pheno", missing=True) and folder
  ),
  "diabetes": lambda folder: "",
}


def _same(actual, expected):
  """Checks that two splits are equal."""
  assert actual.modalities == expected.modalities
  np.testing.assert_array_equal(actual.ids, expected.ids)
  np.testing.assert_allclose(actual.target, expected.target, rtol=1e-6)
  if expected.subjects is not None:
    np.testing.assert_array_equal(actual.subjects, expected.subjects)
  for m, x in expected.features.items():
    present = expected.present[m]
    np.testing.assert_array_equal(actual.present[m], present)
    values = actual.features[m]
    if m not in expected.steps:
      np.testing.assert_array_equal(values[present], x[present])
      continue
    steps, expected_steps = actual.steps[m], expected.steps[m]
    np.testing.assert_array_equal(
      steps.length, np.where(present, expected_steps.length, 0)
    )
    valid = expected_steps.valid_values(x) & present[:, None, None]
    np.testing.assert_array_equal(values, np.where(valid, x, 0))
    if expected_steps.times is not None:
      inside = expected_steps.inside(x.shape[1]) & present[:, None]
      np.testing.assert_allclose(
        np.where(inside, steps.times, 0),
        np.where(inside, expected_steps.times, 0), rtol=1e-6,
      )  # fmt: skip
    if expected_steps.observed is not None:
      np.testing.assert_array_equal(steps.valid_values(values), valid)


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_prepared_is_what_the_source_yields(tmp_path, name):
  path = SOURCES[name](tmp_path)
  dataset_files.prepare(name, path, tmp_path / "out")
  expected = assembly.load(
    name, dataclasses.replace(_OPTIONS, data_dir=str(path))
  )
  options = dataclasses.replace(_OPTIONS, data_dir=str(tmp_path / "out"))
  actual = assembly.load(f"tfds:{name}", options)
  assert (actual.task, actual.num_classes) == (
    expected.task,
    expected.num_classes,
  )
  assert actual.widths == expected.widths
  assert actual.num_steps == expected.num_steps
  for split, examples in expected.splits.items():
    _same(actual.splits[split], examples)
  assert set(expected.notes) - set(actual.notes) <= {
    note for note in expected.notes if note.startswith("values that were")
  }
  # `load_split` reads one split for a model that is already trained.
  test = assembly.load_split(
    f"tfds:{name}",
    dataclasses.replace(options, task=actual.task),
    "test",
    actual.classes,
  )
  _same(test, expected.splits["test"])


def test_what_is_not_prepared_or_damaged_is_named(tmp_path):
  path, _ = dataset_files.mmsa(tmp_path)
  options = dataclasses.replace(_OPTIONS, data_dir=str(tmp_path / "out"))
  (tmp_path / "out").mkdir()
  with pytest.raises(errors.InputError, match="no prepared data set 'mmsa_mos"):
    assembly.load("tfds:mmsa_mosi", options)
  dataset_files.prepare("mmsa_mosi", path, tmp_path / "out")
  with pytest.raises(errors.InputError, match="'mosi'; it has mmsa_mosi: set"):
    assembly.load("tfds:mosi", options)
  with pytest.raises(errors.InputError, match="set --data_dir"):
    assembly.load("tfds:mmsa_mosi", catalog.Options())
  folder = prepared.find(str(tmp_path / "out"), "mmsa_mosi")
  (file,) = folder.glob("*valid*record*")
  content = file.read_bytes()

  def refuse(changed, message):
    file.write_bytes(changed)
    with pytest.raises(errors.InputError, match=message) as error:
      assembly.load("tfds:mmsa_mosi", options)
    assert "\n" not in str(error.value)

  refuse(content[: len(content) // 2], "1.0.0: .*prepare it again")
  refuse(b"", "1.0.0: .*prepare it again")
  middle = len(content) // 3
  refuse(
    content[:middle] + bytes(64) + content[middle + 64 :],
    "1.0.0: record .* cannot be read .*prepare it again",
  )
  file.write_bytes(content)
  (folder / "metadata.json").write_text("{}")
  with pytest.raises(
    errors.InputError, match="was not written by the program prep"
  ):
    assembly.load("tfds:mmsa_mosi", options)
