import dataclasses

import numpy as np
import pytest

from btw_jax.data import describe
from support import datasets


def test_what_is_said_is_what_numpy_finds():
  splits = datasets.splits()
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
  found = describe.describe(several, "multilabel")["splits"]["test"]["labels"]
  assert found == {"0": 3, "1": 3, "2": 2}


def test_what_repeats_or_is_shared_is_told():
  splits = datasets.splits()
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
    for s, e in datasets.splits().items()
  }
  assert all("ids" not in s for s in describe.describe(rows, "x")["shared"])
