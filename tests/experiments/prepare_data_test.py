"""Data from files over records to predictions."""

import numpy as np
import pytest

from support import dataset_files
from support import programs

pytestmark = pytest.mark.slow


def test_data_goes_from_files_over_records_to_predictions(tmp_path):
  """A data set is prepared, streamed in training and evaluated."""
  dataset_files.write_npz(tmp_path / "data", missing=0.2)
  out = tmp_path / "out"
  done = programs.run(
    "prepare_data", "--source=npz", f"--input={tmp_path / 'data'}",
    f"--data_dir={out}",
  )  # fmt: skip
  assert done.stdout.strip().endswith("npz/1.0.0")
  assert "converting train: 60 examples" in done.stderr
  path = tmp_path / "run"
  done = programs.run(
    "train", *programs.TINY, "--dataset=tfds:npz", f"--data_dir={out}",
    "--reading=stream", f"--workdir={path}", "--weighting=kl+mi",
    xla_flags=programs.DEFAULT_XLA_FLAGS,
  )  # fmt: skip
  assert "train: 60 examples stay on disk; shapes of batches: 1" in done.stderr
  results = dataset_files.read_json(path / "results.json")
  assert results["sizes"] == {"train": 60, "valid": 30, "test": 40}
  programs.run(
    "evaluate",
    f"--workdir={path}",
    f"--data_dir={out}",
    xla_flags=programs.DEFAULT_XLA_FLAGS,
  )
  again = dataset_files.read_json(path / "evaluation_test.json")
  for a, b in zip(results["rows"], again["rows"], strict=True):
    assert a["metrics"] == b["metrics"]


def test_data_that_training_refuses_is_shown_first(tmp_path):
  dataset_files.write_npz(tmp_path / "data")
  arrays = dict(np.load(tmp_path / "data/train.npz"))
  arrays["x_words"][7, 1] = np.nan
  arrays["id"][3] = arrays["id"][2]
  np.savez(tmp_path / "data/train.npz", **arrays)
  done = programs.run(
    "inspect_data", "--dataset=npz", f"--data_dir={tmp_path / 'data'}",
    f"--picture={tmp_path / 'data.png'}", status=2,
  )  # fmt: skip
  assert "| train   | 60" in done.stdout
  assert "train: 1 repeated id" in done.stdout
  assert (tmp_path / "data.png").read_bytes().startswith(b"\x89PNG")
  assert "modality 'words', row 7, column 1 is nan" in done.stderr
  wrong = tmp_path / "data/train.npz/data.png"
  done = programs.run(
    "inspect_data", "--dataset=npz", f"--data_dir={tmp_path / 'data'}",
    f"--picture={wrong}", status=2,
  )  # fmt: skip
  assert f"--picture={wrong}: cannot be written (" in done.stderr
  done = programs.run("prepare_data", "--source=npz", status=2)
  assert "--source=npz reads files ({split}.npz): set --input." in done.stderr
  done = programs.run("prepare_data", status=2)
  assert "prepare_data: --source is needed" in done.stderr
