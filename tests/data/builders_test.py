import dataclasses
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import builders
from btw_jax.data import catalog
from btw_jax.data import prepared
from support import dataset_files
from support import environment

_OPTIONS = catalog.Options(average_steps=False)


def test_anybodys_tfds_reads_it_by_name(tmp_path):
  path, content = dataset_files.mmsa(tmp_path)
  dataset_files.prepare("mmsa_mosi", path, tmp_path / "out")
  source = tfds.data_source(
    "mmsa_mosi", data_dir=str(tmp_path / "out"), split="valid"
  )
  assert len(source) == dataset_files.SIZES["valid"]
  labels = [example["target"] for example in source]
  np.testing.assert_array_equal(labels, content["valid"]["regression_labels"])
  assert source[2]["id"].decode() == content["valid"]["id"][2]
  info = tfds.builder("mmsa_mosi", data_dir=str(tmp_path / "out")).info
  assert info.splits["train"].num_examples == dataset_files.SIZES["train"]


@pytest.mark.training
def test_converting_needs_no_tensorflow(tmp_path):
  path, _ = dataset_files.mmsa(tmp_path)
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
    [sys.executable, "-c", code], cwd=environment.ROOT, capture_output=True,
    text=True, check=True, env=environment.of_child(),
  )  # fmt: skip
  assert done.stdout.splitlines()[-2:] == [
    str(dataset_files.SIZES["test"]),
    "[]",
  ]


def test_splits_can_be_drawn_when_preparing(tmp_path):
  dataset_files.mimic(tmp_path, overlap=True)
  dataset_files.prepare(
    "mimic_ihm", tmp_path, tmp_path / "out", split_by="subject"
  )
  dataset = assembly.load(
    "tfds:mimic_ihm",
    dataclasses.replace(_OPTIONS, data_dir=str(tmp_path / "out")),
  )
  subjects = [set(e.subjects) for e in dataset.splits.values()]
  assert not subjects[0] & subjects[1]
  assert not subjects[0] & subjects[2]
  assert "drawn by subject" in " ".join(dataset.notes)


def test_wrong_input_leaves_nothing_and_keeps_what_was_there(tmp_path):
  path, _ = dataset_files.mmsa(tmp_path)
  dataset_files.prepare("mmsa_mosi", path, tmp_path / "out")
  dataset_files.mmsa(tmp_path, changes={"train": {"audio": None}})
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


def test_a_data_set_is_replaced_when_the_new_one_is_whole(tmp_path):
  out = tmp_path / "out"
  path, _ = dataset_files.mmsa(tmp_path)
  dataset_files.prepare("mmsa_mosi", path, out)
  labels = np.full(12, 2.5)
  labels[0] = -1
  dataset_files.mmsa(tmp_path, changes={"train": {"regression_labels": labels}})

  def target():
    options = dataclasses.replace(_OPTIONS, data_dir=str(out))
    return assembly.load("tfds:mmsa_mosi", options).splits["train"].target

  def make():
    return builders.make(
      "mmsa_mosi", str(path), str(out), _OPTIONS, overwrite=True
    )

  make()
  assert not np.array_equal(target(), labels)
  builders.prepare(make(), str(tmp_path / "scratch"))
  np.testing.assert_array_equal(target(), labels)
  assert {p.name for p in out.iterdir()} == {"mmsa_mosi", "scratch"}


@pytest.mark.slow
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
    command, cwd=environment.ROOT, env=environment.of_child(),
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
    command, cwd=environment.ROOT, env=environment.of_child(), text=True,
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
  # A second call has nothing to do.
  options = dataclasses.replace(_OPTIONS, data_dir=str(out))
  builder = builders.make("npz", "/nowhere", str(out), options)
  assert pathlib.Path(builder.data_dir).exists()
  builder.download_and_prepare(download_dir=str(tmp_path / "scratch"))


@pytest.mark.parametrize("field", ["x_text", "y"])
def test_values_that_float32_cannot_tell_apart_are_not_prepared(
  write, tmp_path, field
):
  values = 1.7e9 + np.random.default_rng(0).normal(size=(20, 3))
  options = write(**{field: values if field == "x_text" else values[:, 0]})
  message = (
    r"train.npz: '(text|target)', column 0 has values such as 1(699|700)"
  )
  with pytest.raises(errors.InputError, match=message):
    dataset_files.prepare("npz", options.data_dir, tmp_path / "out")
