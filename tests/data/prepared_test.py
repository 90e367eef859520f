import dataclasses
import json
import pathlib

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
      # Records hold float32.
      rounded = x[present].astype(np.float32)
      np.testing.assert_array_equal(values[present], rounded)
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


@pytest.fixture
def folder(tmp_path):
  """The folder of a prepared data set, with a flag for absent rows."""
  source = dataset_files.write_npz(tmp_path / "mine", missing=0.2)
  builder = dataset_files.prepare("npz", source, tmp_path / "out")
  return pathlib.Path(builder.data_dir)


def _open(folder):
  return prepared.open_records(str(folder.parents[1]), "npz")


@pytest.mark.parametrize("where", ["root", "nested", "snake case", "legacy"])
def test_no_module_that_a_prepared_folder_names_is_imported(
  folder, tmp_path, monkeypatch, where
):
  assert list(_open(folder).readers) == ["train", "valid", "test"]
  (tmp_path / "hostile.py").write_text(
    "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  path = folder / "features.json"
  features = json.loads(path.read_text())
  hostile = {"pythonClassName": "hostile.Feature", "text": {}}
  if where == "root":
    features["pythonClassName"] = "hostile.Feature"
  elif where == "nested":
    fields = features["featuresDict"]["features"]["sound"]["featuresDict"]
    fields["features"]["values"] = hostile
  elif where == "snake case":
    features["featuresDict"]["features"]["sound"] = {
      "python_class_name": "hostile.Feature",
      "text": {},
    }
  else:
    features = {"type": "hostile.Feature", "content": {}}
  path.write_text(json.dumps(features))
  with pytest.raises(errors.InputError, match="which was not imported") as e:
    _open(folder)
  assert str(e.value).isprintable()
  with pytest.raises(errors.InputError, match="which was not imported"):
    dataset_files.prepare("npz", tmp_path / "mine", tmp_path / "out")
  assert not (tmp_path / "ran").exists()


def test_a_key_that_occurs_twice_hides_no_class(folder):
  path = folder / "features.json"
  text = path.read_text().rstrip()
  assert text.endswith("}")
  path.write_text(text[:-1] + ', "pythonClassName": "a.B"}')
  with pytest.raises(errors.InputError, match="features.json: .*a key twice"):
    _open(folder)


@pytest.mark.parametrize(
  "content", ["", "{", "[]", "{}", "null", '{"btw_jax": {}}', "\x00" * 9, None]
)
@pytest.mark.parametrize(
  "file", ["features.json", "dataset_info.json", "metadata.json"]
)
def test_damaged_descriptions_end_in_one_line(folder, file, content):
  if content is None:
    half = (folder / file).read_bytes()
    (folder / file).write_bytes(half[: len(half) // 2] + b"\xff")
  else:
    (folder / file).write_text(content)
  with pytest.raises(errors.InputError) as error:
    _open(folder)
  assert str(error.value).isprintable()
  assert str(folder) in str(error.value)


def test_sizes_of_another_type_are_damage(folder):
  path = folder / "metadata.json"
  text = path.read_text()
  assert text.count('"num_steps": 0') == 2
  for size in ('"many"', "-1", "1e9", "null"):
    path.write_text(text.replace('"num_steps": 0', f'"num_steps": {size}'))
    with pytest.raises(errors.InputError, match="metadata.json is damaged"):
      _open(folder)


def test_folders_that_are_no_versions_are_passed_over(folder):
  other = folder.with_name("a.b.c")
  other.mkdir()
  (other / "dataset_info.json").touch()
  assert prepared.find(str(folder.parents[1]), "npz") == folder
