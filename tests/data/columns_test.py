import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import columns
from btw_jax.data import dataset


def _examples(**names):
  x = np.arange(6.0).reshape(2, 3)
  return dataset.complete(
    {"a": x, "b": np.stack([x, x], axis=1)}, np.arange(2), columns=names,
    name="file",
  )  # fmt: skip


def test_features_are_ordered_by_their_names():
  examples = _examples(a=("x", "y", "z"), b=("z", "x", "y"))
  wanted = {"a": ("z", "x", "y"), "b": ("x", "y", "z")}
  aligned = columns.align(examples, wanted)
  np.testing.assert_array_equal(aligned.features["a"], [[2, 0, 1], [5, 3, 4]])
  np.testing.assert_array_equal(aligned.features["b"][0, 1], [1, 2, 0])
  assert aligned.columns == wanted
  np.testing.assert_array_equal(examples.features["a"][0], [0, 1, 2])


def test_features_without_names_stay():
  for examples, wanted in (
    (_examples(), {"a": ("z", "x", "y")}),
    (_examples(a=("x", "y", "z")), {}),
  ):
    aligned = columns.align(examples, wanted)
    np.testing.assert_array_equal(aligned.features["a"], examples.features["a"])


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (("x", "y", "w"), "file: modality 'a' has no column 'z', which the train"),
    (("x", "y", "z", "w"), "file: modality 'a' has a column 'w', which the t"),
  ],
)
def test_other_names_are_refused(names, message):
  with pytest.raises(errors.InputError, match=message):
    columns.align(_examples(a=names), {"a": ("x", "y", "z")})


def test_names_that_repeat_tell_nothing():
  assert columns.unique(["g1", "g2"]) == ("g1", "g2")
  assert columns.unique(["g1", "g1"]) == ()


def test_modalities_and_columns_of_splits_are_matched_by_name(tmp_path):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(12, 2))
  for split, order in (("train", "ab"), ("test", "ba")):
    fields = {f"x_{m}": x + (m == "b") * 100 for m in order}
    np.savez(tmp_path / f"{split}.npz", **fields, y=np.arange(12) % 2)
  options = catalog.Options(data_dir=str(tmp_path))
  test = assembly.load("npz", options).splits["test"]
  assert test.modalities == ("a", "b")
  assert test.features["b"].mean() > 50 > test.features["a"].mean()
  for split, names in (("train", "uv"), ("test", "vu")):
    header = ",".join([*names, "label"])
    values = x if split == "train" else x[:, ::-1]
    rows = [f"{p},{q},{i % 2}" for i, (p, q) in enumerate(values)]
    text = "\n".join([header, *rows])
    (tmp_path / f"a_{split}.csv").write_text(text)
  splits = assembly.load("csv", options).splits
  np.testing.assert_allclose(splits["test"].features["a"], x, rtol=1e-6)
