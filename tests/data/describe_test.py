import dataclasses

import numpy as np
import pytest

from btw_jax.data import describe
from support import datasets


def test_what_is_said_is_what_numpy_finds():
  splits = datasets.splits()
  description = describe.describe(splits, "multiclass")
  assert description["splits"]["train"]["examples"] == 1500
  assert description["splits"]["train"]["labels"] == {
    "0": 500,
    "1": 500,
    "2": 500,
  }
  assert description["modalities"]["a"]["shape"] == "4 steps of 3 features"
  assert description["modalities"]["b"]["shape"] == "2 features"
  statistics = description["modalities"]["a"]["splits"]["train"]
  train = splits["train"]
  valid = train.observed("a") & train.present["a"][:, None, None]
  values = train.features["a"][valid]
  assert statistics["missing"] == pytest.approx(0.25)
  assert statistics["mean"] == pytest.approx(values.mean(), rel=1e-6)
  assert statistics["std"] == pytest.approx(values.std(), rel=1e-6)
  assert statistics["constant columns"] == 1
  assert statistics["median length"] == 3
  assert description["modalities"]["b"]["splits"]["test"]["replaced"] == 5
  # Two examples share a subject; s100 to s103 are in both splits.
  assert description["shared"] == [{"splits": ["train", "test"], "subjects": 4}]


def test_labels_of_every_task_are_told():
  splits = {
    s: dataclasses.replace(e, target=np.linspace(-1, 1, len(e)))
    for s, e in datasets.splits().items()
  }
  labels = describe.describe(splits, "regression")["splits"]["train"]["labels"]
  assert labels["mean"] == pytest.approx(0, abs=1e-6)
  assert sum(labels["counts"]) == 1500
  assert len(labels["edges"]) == len(labels["counts"]) + 1
  several = {
    s: dataclasses.replace(e, target=np.eye(3)[np.arange(len(e)) % 3])
    for s, e in datasets.splits().items()
  }
  counts = describe.describe(several, "multilabel")["splits"]["test"]["labels"]
  assert counts == {"0": 3, "1": 3, "2": 2}


def test_what_repeats_or_is_shared_is_told():
  splits = datasets.splits()
  train = splits["train"]
  twice = train.take(np.array([0, 1, 1, 2]))
  splits["valid"] = dataclasses.replace(twice, subjects=None)
  description = describe.describe(splits, "multiclass")
  assert description["splits"]["valid"]["repeated ids"] == 1
  assert description["splits"]["valid"]["repeated examples"] == 1
  assert {"splits": ["train", "valid"], "ids": 3, "examples": 3} in (
    description["shared"]
  )
  # The same features with other ids are detected by their content.
  splits["valid"] = dataclasses.replace(twice, ids=np.array(list("wxyz")))
  shared = describe.describe(splits, "multiclass")["shared"]
  assert {"splits": ["train", "valid"], "ids": 0, "examples": 3} in shared
  # Row numbers do not count as ids.
  rows = {
    s: dataclasses.replace(e, ids=np.arange(len(e)).astype(str))
    for s, e in datasets.splits().items()
  }
  assert all("ids" not in s for s in describe.describe(rows, "x")["shared"])
