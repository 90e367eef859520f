import numpy as np
import pytest
from sklearn import linear_model

from experiments.benchmarks import generated_data


def _draw(name, seed=0):
  return generated_data.GENERATORS[name](np.random.default_rng(seed))


def _share_right(x, y):
  """Returns the share of test labels that a linear model gets right."""
  model = linear_model.LogisticRegression(max_iter=1000).fit(x[:400], y[:400])
  return model.score(x[400:], y[400:])


def test_only_both_parts_of_an_exclusive_or_tell_the_label():
  views, y = _draw("xor")
  for name in ("a", "b", "noise"):
    # 1,000 labels: the standard error of a half is 1.6 points.
    assert _share_right(views[name], y) == pytest.approx(0.5, abs=0.06)
  assert 0.53 < _share_right(views["weak"], y) < 0.67
  signs = [np.sign(views[name].sum(1)) for name in ("a", "b")]
  assert np.mean((signs[0] != signs[1]) == y) > 0.95


def test_every_noisy_view_tells_a_part():
  views, y = _draw("noisy_views")
  alone = [_share_right(x, y) for x in views.values()]
  together = _share_right(np.concatenate(list(views.values()), axis=1), y)
  # One of ten classes is right by chance.
  assert len(alone) == 6 and min(alone) > 0.15 and max(alone) < together - 0.1


def test_copies_are_equal_and_some_examples_are_exchanged():
  views, _ = _draw("copies")
  np.testing.assert_array_equal(views["pixels1"], views["pixels3"])
  views, _ = _draw("exchanged")
  sums = views["fourier"][:, 0]
  # The first Fourier coefficient is the sum of all pixels.
  same = np.isclose(views["pixels"].sum(axis=1), sums)
  assert np.mean(same) == pytest.approx(0.7, abs=0.05)


def test_a_written_data_set_is_the_drawn_one(tmp_path):
  generated_data.write("xor", tmp_path, seed=3)
  views, y = _draw("xor", seed=3)
  test = np.load(tmp_path / "test.npz")
  np.testing.assert_array_equal(test["y"], y[400:])
  np.testing.assert_array_equal(test["x_weak"], views["weak"][400:])
  assert len(np.load(tmp_path / "train.npz")["y"]) == 400
