import dataclasses
import pathlib
import signal
import subprocess
import sys
import time

import conftest
import files
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2
from tensorflow_datasets.proto import tf_feature_pb2

from btw_jax import errors
from btw_jax.data import builders
from btw_jax.data import catalog
from btw_jax.data import prepared
from btw_jax.data import tf_example

_OPTIONS = catalog.Options(average_steps=False)


FEATURE = st.one_of(
  st.binary(max_size=300).map(
    lambda v: tf_feature_pb2.Feature(
      bytes_list=tf_feature_pb2.BytesList(value=[v])
    )
  ),
  st.lists(st.floats(width=32), max_size=40).map(
    lambda v: tf_feature_pb2.Feature(
      float_list=tf_feature_pb2.FloatList(value=v)
    )
  ),
  st.lists(st.integers(0, 2**40), max_size=40).map(
    lambda v: tf_feature_pb2.Feature(
      int64_list=tf_feature_pb2.Int64List(value=v)
    )
  ),
)


@hypothesis.given(st.dictionaries(st.text(max_size=20), FEATURE, max_size=6))
def test_fields_lie_where_protobuf_finds_them(features):
  record = tf_example_pb2.Example(
    features=tf_feature_pb2.Features(feature=features)
  ).SerializeToString()
  found = tf_example.parse(record)
  assert set(found) == set(features)
  for name, feature in features.items():
    start, end = found[name]
    kind = feature.WhichOneof("kind")
    value = getattr(feature, kind).value
    if kind == "bytes_list":
      assert record[start:end] == value[0]
    elif kind == "float_list":
      np.testing.assert_array_equal(
        np.frombuffer(record[start:end], np.float32), value
      )
    else:
      # What protobuf makes of the same bytes.
      packed = record[start:end]
      again = tf_feature_pb2.Int64List.FromString(
        b"\n" + _varint(len(packed)) + packed
      )
      assert list(again.value) == list(value)


def _varint(value):
  code = []
  while value > 127:
    code.append(value & 127 | 128)
    value >>= 7
  return bytes([*code, value])


@hypothesis.given(st.binary(min_size=1, max_size=60))
def test_other_bytes_are_refused_or_found_nothing_in(record):
  try:
    found = tf_example.parse(record)
  except (ValueError, IndexError):
    return
  assert all(isinstance(name, str) for name in found)


SOURCES = {
  "mmsa_mosei": lambda folder: files.mmsa(folder, aligned=False)[0],
  "multibench_mosi": lambda folder: files.multibench(folder)[0],
  "mmim_mosi": lambda folder: files.mmim(folder) and folder,
  "mimic_pheno_missing": lambda folder: (
    files.mimic(folder, "pheno", missing=True) and folder
  ),
  "diabetes": lambda folder: "",
}


def _same(found, expected):
  """That two splits hold the same."""
  assert found.modalities == expected.modalities
  np.testing.assert_array_equal(found.ids, expected.ids)
  np.testing.assert_allclose(found.target, expected.target, rtol=1e-6)
  if expected.subjects is not None:
    np.testing.assert_array_equal(found.subjects, expected.subjects)
  for m, x in expected.features.items():
    present = expected.present[m]
    np.testing.assert_array_equal(found.present[m], present)
    own = found.features[m]
    if m not in expected.steps:
      np.testing.assert_array_equal(own[present], x[present])
      continue
    steps, other = found.steps[m], expected.steps[m]
    np.testing.assert_array_equal(
      steps.length, np.where(present, other.length, 0)
    )
    there = other.there(x) & present[:, None, None]
    np.testing.assert_array_equal(own, np.where(there, x, 0))
    if other.times is not None:
      inside = other.inside(x.shape[1]) & present[:, None]
      np.testing.assert_allclose(
        np.where(inside, steps.times, 0), np.where(inside, other.times, 0),
        rtol=1e-6,
      )  # fmt: skip
    if other.observed is not None:
      np.testing.assert_array_equal(steps.there(own), there)


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_prepared_is_what_the_source_yields(tmp_path, name):
  path = SOURCES[name](tmp_path)
  files.prepare(name, path, tmp_path / "out")
  expected = catalog.load(
    name, dataclasses.replace(_OPTIONS, data_dir=str(path))
  )
  options = dataclasses.replace(_OPTIONS, data_dir=str(tmp_path / "out"))
  found = catalog.load(f"tfds:{name}", options)
  assert (found.task, found.num_classes) == (
    expected.task,
    expected.num_classes,
  )
  assert found.widths == expected.widths
  assert found.num_steps == expected.num_steps
  for split, examples in expected.splits.items():
    _same(found.splits[split], examples)
  assert set(expected.notes) - set(found.notes) <= {
    note for note in expected.notes if note.startswith("values that were")
  }
  # One split of several, for a model that is trained already.
  test = catalog.load_split(
    f"tfds:{name}",
    dataclasses.replace(options, task=found.task),
    "test",
    found.num_classes,
  )
  _same(test, expected.splits["test"])


def test_anybodys_tfds_reads_it_by_name(tmp_path):
  path, content = files.mmsa(tmp_path)
  files.prepare("mmsa_mosi", path, tmp_path / "out")
  source = tfds.data_source(
    "mmsa_mosi", data_dir=str(tmp_path / "out"), split="valid"
  )
  assert len(source) == files.SIZES["valid"]
  labels = [example["target"] for example in source]
  np.testing.assert_array_equal(labels, content["valid"]["regression_labels"])
  assert source[2]["id"].decode() == content["valid"]["id"][2]
  info = tfds.builder("mmsa_mosi", data_dir=str(tmp_path / "out")).info
  assert info.splits["train"].num_examples == files.SIZES["train"]


def test_converting_needs_no_tensorflow(tmp_path):
  path, _ = files.mmsa(tmp_path)
  code = (
    "import sys, tensorflow_datasets as tfds\n"
    "import btw_jax.data.builders\n"
    f"b = tfds.builder('mmsa_mosi', data_dir={str(tmp_path / 'out')!r},"
    f" source_path={str(path)!r})\n"
    "b.download_and_prepare()\n"
    "print(len(b.as_data_source('test')))\n"
    "print([m for m in ('tensorflow', 'torch') if m in sys.modules])\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=conftest.ROOT, capture_output=True,
    text=True, check=True, env=conftest.environment(),
  )  # fmt: skip
  assert done.stdout.splitlines()[-2:] == [str(files.SIZES["test"]), "[]"]


def test_a_split_has_several_files_and_any_order(tmp_path, monkeypatch):
  monkeypatch.setattr(builders, "_SHARD_BYTES", 4 * 64 * 50 * 768)
  path, content = files.mmsa(tmp_path)
  files.prepare("mmsa_mosi", path, tmp_path / "out")
  folder = prepared.find(str(tmp_path / "out"), "mmsa_mosi")
  assert len(list(folder.glob("*train*record*"))) == 1
  monkeypatch.setattr(builders, "_SHARD_BYTES", 4 * 4 * 50 * 900)
  builders.make(
    "mmsa_mosi", str(path), str(tmp_path / "out"), _OPTIONS, overwrite=True
  ).download_and_prepare(download_dir=str(tmp_path / "scratch"))
  assert len(list(folder.glob("*train*record*"))) == 3
  reader = prepared.open_records(str(tmp_path / "out"), "mmsa_mosi").readers
  order = np.random.default_rng(0).permutation(files.SIZES["train"])
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


def test_splits_can_be_drawn_when_preparing(tmp_path):
  files.mimic(tmp_path, overlap=True)
  files.prepare("mimic_ihm", tmp_path, tmp_path / "out", split_by="subject")
  found = catalog.load(
    "tfds:mimic_ihm",
    dataclasses.replace(_OPTIONS, data_dir=str(tmp_path / "out")),
  )
  subjects = [set(e.subjects) for e in found.splits.values()]
  assert not subjects[0] & subjects[1]
  assert not subjects[0] & subjects[2]
  assert "drawn by subject" in " ".join(found.notes)


def test_wrong_input_leaves_nothing_and_keeps_what_was_there(tmp_path):
  path, _ = files.mmsa(tmp_path)
  files.prepare("mmsa_mosi", path, tmp_path / "out")
  files.mmsa(tmp_path, changes={"train": {"audio": None}})
  for overwrite in (True, False):
    folder = tmp_path / "out" if overwrite else tmp_path / "new"
    with pytest.raises(errors.InputError, match="has no field 'audio'"):
      builders.make(
        "mmsa_mosi", str(path), str(folder), _OPTIONS, overwrite=overwrite
      )
  assert not list((tmp_path / "new").iterdir())
  prepared.open_records(str(tmp_path / "out"), "mmsa_mosi")
  with pytest.raises(
    errors.InputError, match="--source=mosi: unknown: use one"
  ):
    builders.make("mosi", "", str(tmp_path), _OPTIONS)
  (tmp_path / "file").touch()
  with pytest.raises(errors.InputError, match="file/x: cannot be made"):
    builders.make("digits", "", str(tmp_path / "file/x"), _OPTIONS)


def test_what_is_not_prepared_or_damaged_is_named(tmp_path):
  path, _ = files.mmsa(tmp_path)
  options = dataclasses.replace(_OPTIONS, data_dir=str(tmp_path / "out"))
  with pytest.raises(errors.InputError, match="no prepared data set 'mmsa_mos"):
    catalog.load("tfds:mmsa_mosi", options)
  files.prepare("mmsa_mosi", path, tmp_path / "out")
  with pytest.raises(errors.InputError, match="data set 'mosi', but mmsa_mosi"):
    catalog.load("tfds:mosi", options)
  with pytest.raises(errors.InputError, match="set --data_dir"):
    catalog.load("tfds:mmsa_mosi", catalog.Options())
  folder = prepared.find(str(tmp_path / "out"), "mmsa_mosi")
  (file,) = folder.glob("*valid*record*")
  content = file.read_bytes()

  def refuse(changed, message):
    file.write_bytes(changed)
    with pytest.raises(errors.InputError, match=message) as error:
      catalog.load("tfds:mmsa_mosi", options)
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
    errors.InputError, match="was not written by experiments."
  ):
    catalog.load("tfds:mmsa_mosi", options)


def test_a_conversion_that_was_killed_starts_over_cleanly(tmp_path):
  rng = np.random.default_rng(0)
  for split, n in (("train", 400), ("test", 10)):
    np.savez(
      tmp_path / f"{split}.npz", y=np.arange(n) % 2,
      x_a=rng.normal(size=(n, 500, 200)).astype("f"),
    )  # fmt: skip
  out = tmp_path / "out"
  command = [
    sys.executable, "-m", "experiments.prepare_data", "--source=npz",
    f"--input={tmp_path}", f"--data_dir={out}",
  ]  # fmt: skip
  running = subprocess.Popen(
    command, cwd=conftest.ROOT, env=conftest.environment(),
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  end = time.monotonic() + 120
  while not list(out.glob("npz/incomplete*/*record*")):
    assert running.poll() is None
    assert time.monotonic() < end
    time.sleep(0.005)
  running.send_signal(signal.SIGKILL)
  running.wait()
  left = list(out.glob("npz/*"))
  assert [path.name[:10] for path in left] == ["incomplete"]
  done = subprocess.run(
    command, cwd=conftest.ROOT, env=conftest.environment(), text=True,
    capture_output=True, check=True,
  )  # fmt: skip
  assert [path.name for path in out.glob("npz/*")] == ["1.0.0"]
  assert [path.name for path in out.iterdir()] == ["npz"]
  assert "| train   | 400        | 0: 200, 1: 200    |" in done.stdout
  assert "| a          | 500 steps of 200 features | 500" in done.stdout
  reader = prepared.open_records(str(out), "npz").readers["train"]
  expected = np.load(tmp_path / "train.npz")["x_a"]
  np.testing.assert_array_equal(
    reader.read(np.array([399])).features["a"][0], expected[399]
  )
  # Again: nothing to do.
  options = dataclasses.replace(_OPTIONS, data_dir=str(out))
  builder = builders.make("npz", "/nowhere", str(out), options)
  assert pathlib.Path(builder.data_dir).exists()
  builder.download_and_prepare(download_dir=str(tmp_path / "scratch"))
