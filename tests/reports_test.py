import pathlib

import files
import numpy as np
import pytest
from scipy import stats
from sklearn import calibration

from btw_jax.reports import examples
from btw_jax.reports import routing
from btw_jax.reports import study

RUNS = (("uniform", 0.0), ("mi", 0.5), ("mi", 1.0))
MODALITIES = ("sight", "sound", "noise0", "noise1")


def _values(seed=0):
  rng = np.random.default_rng(seed)
  return rng.dirichlet(np.ones(5), (3, 2, 4))


def test_the_last_epoch_of_the_run_asked_for_is_read(tmp_path):
  path = tmp_path / "routing.csv"
  files.write_routing(path, _values(), modalities=MODALITIES, runs=RUNS)
  shares = routing.read(path, "mi", 0.5)
  assert shares.modalities == MODALITIES
  np.testing.assert_allclose(shares.values, _values())
  with pytest.raises(ValueError, match=r"has no run 'kl' of strength 1"):
    routing.read(path, "kl", 1.0)


def test_overlap_is_one_minus_half_the_distance():
  values = _values()
  found = routing.overlaps(values)
  for s, layer, a, b in np.ndindex(3, 2, 4, 4):
    distance = np.abs(values[s, layer, a] - values[s, layer, b]).sum() / 2
    np.testing.assert_allclose(found[s, layer, a, b], 1 - distance)
  shuffled = values[..., np.random.default_rng(1).permutation(5)]
  np.testing.assert_allclose(routing.overlaps(shuffled), found)


def test_kinds_that_share_no_expert_are_told_apart():
  values = np.zeros((2, 1, 4, 4))
  values[:, :, :2, :2] = 0.5
  values[:, :, 2, 2] = 1.0
  values[:, :, 3, 2:] = 0.5
  (layer,) = routing.compare(
    routing.Shares(MODALITIES, values), ["noise0", "noise1"]
  )
  np.testing.assert_allclose(layer["within apart"], 0.5)
  np.testing.assert_allclose(layer["within others"], 1.0)
  np.testing.assert_allclose(layer["between"], 0.0)
  shares = routing.Shares(MODALITIES, values)
  with pytest.raises(ValueError, match="'smell' is no modality: use some of"):
    routing.compare(shares, ["smell"])
  with pytest.raises(ValueError, match="give two modalities or more"):
    routing.compare(shares, ["noise0"])


def test_the_picture_shows_the_shares(tmp_path):
  """Other shares, other pixels; the same, the same."""
  paths = [tmp_path / f"{i}.png" for i in range(3)]
  for path, seed in zip(paths, (0, 0, 1), strict=True):
    routing.picture(routing.Shares(MODALITIES, _values(seed)), path)
  first, again, other = (path.read_bytes() for path in paths)
  assert first.startswith(b"\x89PNG")
  assert first == again
  assert first != other


def _method(task, **config):
  results = {"task": task, "modalities": ["sight", "sound"]}
  cell = study.Cell("made", pathlib.Path(), config, results, {})
  return study.Method("kl", "kl", cell, {})


def test_reliability_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  certainty = rng.uniform(0.2, 1.0, 2000)
  right = rng.random(2000) < certainty**2
  own = {
    "certainty": certainty[:, None],
    "prediction": np.zeros((2000, 1)),
    "target": np.where(right, 0, 1)[:, None],
  }
  said, found = examples.calibration(_method("multiclass"), own)
  truth = calibration.calibration_curve(right, certainty, n_bins=10)
  np.testing.assert_allclose(found, truth[0])
  np.testing.assert_allclose(said, truth[1])
  # Two labels, of which each decision counts.
  own = {
    "certainty": np.array([[0.85, 0.65], [0.85, 0.65]]),
    "prediction": np.array([[0.85, 0.35], [0.15, 0.65]]),
    "target": np.array([[1, 0], [1, 0]]),
  }
  said, found = examples.calibration(_method("multilabel"), own)
  np.testing.assert_allclose(said, [0.65, 0.85])
  np.testing.assert_allclose(found, [0.5, 0.5])


@pytest.mark.parametrize("law", ["gaussian", "laplace"])
def test_quantiles_of_a_regression_hold_their_share(law):
  draw = {"gaussian": stats.norm, "laplace": stats.laplace}[law]
  mean, scale = np.arange(4000.0), np.linspace(1, 3, 4000)
  own = {
    "prediction": mean[:, None],
    "certainty": scale[:, None],
    "target": draw.rvs(mean, scale, random_state=0)[:, None],
  }
  said, found = examples.calibration(_method("regression", predictive=law), own)
  np.testing.assert_allclose(said, np.arange(1, 10) / 10)
  # Three standard deviations of a share of 4,000.
  np.testing.assert_allclose(found, said, atol=3 * 0.5 / 4000**0.5)
  own["certainty"] *= 0.2
  _, found = examples.calibration(_method("regression", predictive=law), own)
  assert np.abs(found - said).max() > 0.1


def test_weights_of_examples_are_shown_if_those_of_any_seed_differ(tmp_path):
  """Not where each seed weighs all of its examples alike."""
  columns = (
    "weighting,seed,target,prediction,certainty,weight_sight,weight_sound"
  )
  alike = [f"kl,{s},0,0,0.9,0.{s},0.{9 - s}" for s in (3, 4) for _ in range(5)]
  differing = [
    *alike[:5],
    *(f"kl,4,1,0,0.9,0.{k},0.{9 - k}" for k in range(1, 6)),
  ]
  shown = []
  for rows in (alike, differing):
    (tmp_path / "predictions.csv").write_text("\n".join([columns, *rows]))
    method = _method("multiclass")
    row = {
      "choice": {"variant": "kl", "strength": 1.0, "scale": 1.0},
      "metrics": {"ece": [0.0]},
    }
    cell = method.cell._replace(path=tmp_path)
    method = method._replace(cell=cell, row=row)
    problem = study.Problem("made", "accuracy", {"kl": method}, {})
    shown.append([p.title for p in examples.of_problem(problem)])
  first = "calibration on test, all seeds"
  assert shown[0] == [first]
  assert shown[1] == [
    first, "kl: weights of test examples", "kl: weight against correctness"
  ]  # fmt: skip


def test_fifths_are_of_each_seed_s_own_examples():
  # Seeds whose weights differ: pooled, fifths would be of seeds.
  weights = np.array([*range(1, 11), 0, *range(101, 111)], float)
  seeds = np.array([0] * 11 + [1] * 10)
  scores = np.where(seeds == 0, weights, weights - 100)
  scores[10] = 1e9  # Lacks the modality.
  weight, score = examples.fifths(seeds, weights, scores)
  np.testing.assert_allclose(score, [1.5, 3.5, 5.5, 7.5, 9.5])
  np.testing.assert_allclose(weight, score + 50)
  assert examples.fifths(seeds, 0 * weights, scores).shape == (2, 0)
