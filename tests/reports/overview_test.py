import dataclasses

from matplotlib import image
import numpy as np
import pytest

from btw_jax.data import describe
from btw_jax.reports import overview as picture_lib
from support import datasets


@pytest.mark.training
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
    for split, e in datasets.splits().items():
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


@pytest.mark.training
def test_names_are_drawn_as_text(tmp_path):
  """`$x^$` would be a formula, and a wrong one."""
  splits = {
    split: dataclasses.replace(
      e,
      target=np.array(["$x^$", "\\frac{1}", "$\\frac$"])[np.arange(len(e)) % 3],
    )
    for split, e in datasets.splits().items()
  }
  path = tmp_path / "data.png"
  picture_lib.picture("mine", describe.describe(splits, "multiclass"), path)
  assert image.imread(path).size
