import dataclasses

import files
from matplotlib import image
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import describe
from btw_jax.pipeline import data_summary
from btw_jax.reports import overview as picture_lib


def _splits(seed=0):
  rng = np.random.default_rng(seed)
  splits = {}
  for split, n in (("train", 1500), ("test", 8)):
    x = rng.normal(2, 3, size=(n, 4, 3))
    x[..., 1] = 7
    splits[split] = dataset_lib.complete(
      {"a": x, "b": rng.normal(size=(n, 2))},
      np.arange(n) % 3,
      ids=[f"{split}{i}" for i in range(n)],
      present={"a": np.arange(n) % 4 > 0},
      steps={"a": dataset_lib.Steps(np.arange(n) % 4 + 1)},
      subjects=[f"s{i // 2 + 100 * (split == 'test')}" for i in range(n)],
      replaced={"b": 5},
    )
  return splits


def test_what_is_said_is_what_numpy_finds():
  splits = _splits()
  found = describe.describe(splits, "multiclass")
  assert found["splits"]["train"]["examples"] == 1500
  assert found["splits"]["train"]["labels"] == {"0": 500, "1": 500, "2": 500}
  assert found["modalities"]["a"]["shape"] == "4 steps of 3 features"
  assert found["modalities"]["b"]["shape"] == "2 features"
  own = found["modalities"]["a"]["splits"]["train"]
  train = splits["train"]
  there = train.observed("a") & train.present["a"][:, None, None]
  values = train.features["a"][there]
  assert own["missing"] == pytest.approx(0.25)
  assert own["mean"] == pytest.approx(values.mean(), rel=1e-6)
  assert own["std"] == pytest.approx(values.std(), rel=1e-6)
  assert own["constant columns"] == 1
  assert own["median length"] == 3
  assert found["modalities"]["b"]["splits"]["test"]["replaced"] == 5
  # 1,500 examples in pairs: s100 to s103 are of both splits.
  assert found["shared"] == [{"splits": ["train", "test"], "subjects": 4}]


def test_labels_of_every_task_are_told():
  splits = {
    s: dataclasses.replace(e, target=np.linspace(-1, 1, len(e)))
    for s, e in _splits().items()
  }
  labels = describe.describe(splits, "regression")["splits"]["train"]["labels"]
  assert labels["mean"] == pytest.approx(0, abs=1e-6)
  assert sum(labels["counts"]) == 1500
  assert len(labels["edges"]) == len(labels["counts"]) + 1
  several = {
    s: dataclasses.replace(e, target=np.eye(3)[np.arange(len(e)) % 3])
    for s, e in _splits().items()
  }
  found = describe.describe(several, "multilabel")["splits"]["test"]["labels"]
  assert found == {"0": 3, "1": 3, "2": 2}


def test_what_repeats_or_is_shared_is_told():
  splits = _splits()
  train = splits["train"]
  twice = train.take(np.array([0, 1, 1, 2]))
  splits["valid"] = dataclasses.replace(twice, subjects=None)
  found = describe.describe(splits, "multiclass")
  assert found["splits"]["valid"]["repeated ids"] == 1
  assert found["splits"]["valid"]["repeated examples"] == 1
  assert {"splits": ["train", "valid"], "ids": 3, "examples": 3} in (
    found["shared"]
  )
  # The same features under other names are found by their content.
  splits["valid"] = dataclasses.replace(twice, ids=np.array(list("wxyz")))
  shared = describe.describe(splits, "multiclass")["shared"]
  assert {"splits": ["train", "valid"], "ids": 0, "examples": 3} in shared
  # Row numbers are not taken for names.
  rows = {
    s: dataclasses.replace(e, ids=np.arange(len(e)).astype(str))
    for s, e in _splits().items()
  }
  assert all("ids" not in s for s in describe.describe(rows, "x")["shared"])


def test_the_summary_is_told_in_full(tmp_path):
  files.mimic(tmp_path, overlap=True, missing=True)
  options = catalog.Options(data_dir=str(tmp_path), average_steps=False)
  summary = catalog.summarise(catalog.read("mimic_ihm_missing", options))
  text = data_summary.text(summary)
  assert "| train   | 12         | 0: 6, 1: 6        |" in text
  row = next(line for line in text.splitlines() if line.startswith("| cxr"))
  assert [cell.strip() for cell in row.split("|")][2:6] == [
    "2 steps of 1024 features", "2", "train", "33.3",
  ]  # fmt: skip
  assert "train and valid share 1 subjects" in text
  for lines in text.splitlines():
    assert not lines.startswith("| ecg") or lines.split("|")[-2].strip() in (
      "", "2",
    )  # fmt: skip


@pytest.mark.parametrize("task", ["regression", "multiclass", "multilabel"])
def test_the_picture_shows_missing_shares(tmp_path, task):
  targets = {
    "regression": lambda n: np.linspace(-1, 1, n),
    "multiclass": lambda n: np.arange(n) % 3,
    "multilabel": lambda n: np.eye(3)[np.arange(n) % 3],
  }
  drawn = []
  for share in (0.0, 0.5):
    splits = {}
    for split, e in _splits().items():
      n = len(e)
      present = {**e.present, "b": np.arange(n) >= share * n}
      splits[split] = dataclasses.replace(
        e, target=targets[task](n), present=present
      )
    path = tmp_path / "data.png"
    picture_lib.picture("mine", describe.describe(splits, task), path)
    drawn.append(image.imread(path))
  assert drawn[0].shape == drawn[1].shape
  # Bars appear in the upper right quarter, the labels at the left stay.
  height, width = drawn[0].shape[:2]
  changed = np.any(drawn[0] != drawn[1], axis=-1)
  assert changed[: height // 2, width // 2 :].mean() > 0.02
  assert changed[: height // 2, : width // 3].mean() < 0.01


def test_rows_that_do_not_line_up_are_named_before_anything_is_said(tmp_path):
  for split in ("train", "test"):
    np.savez(tmp_path / f"{split}.npz", x_a=np.ones((4, 2)), y=np.arange(5) % 2)
  with pytest.raises(errors.InputError, match="'a' has 4 rows but there are 5"):
    catalog.summarise(
      catalog.read("npz", catalog.Options(data_dir=str(tmp_path)))
    )
