import pathlib

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration

from btw_jax.reports import examples
from btw_jax.reports import study


def _method(task, **config):
  results = {"task": task, "modalities": ["sight", "sound"]}
  run = study.RunFiles("made", pathlib.Path(), config, results, {})
  return study.Method("kl", "kl", run, {})


def test_reliability_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  certainty = rng.uniform(0.2, 1.0, 2000)
  right = rng.random(2000) < certainty**2
  table = {
    "certainty": certainty[:, None],
    "score": right[:, None] * 1.0,
  }
  stated, observed = examples.calibration(_method("multiclass"), table)
  truth = calibration.calibration_curve(right, certainty, n_bins=10)
  np.testing.assert_allclose(observed, truth[0])
  np.testing.assert_allclose(stated, truth[1])
  # With two labels every decision counts.
  table = {
    "certainty": np.array([[0.85, 0.65], [0.85, 0.65]]),
    "score": np.array([[1.0, 1.0], [0.0, 0.0]]),
  }
  stated, observed = examples.calibration(_method("multilabel"), table)
  np.testing.assert_allclose(stated, [0.65, 0.85])
  np.testing.assert_allclose(observed, [0.5, 0.5])


@pytest.mark.parametrize("law", ["gaussian", "laplace"])
def test_quantiles_of_a_regression_hold_their_share(law):
  draw = {"gaussian": stats.norm, "laplace": stats.laplace}[law]
  mean, scale = np.arange(4000.0), np.linspace(1, 3, 4000)
  table = {
    "mean": mean[:, None],
    "std": draw.std(mean, scale)[:, None],
    "target": draw.rvs(mean, scale, random_state=0)[:, None],
  }
  stated, observed = examples.calibration(
    _method("regression", predictive=law), table
  )
  np.testing.assert_allclose(stated, np.arange(1, 10) / 10)
  # Three standard deviations of a share of 4,000.
  np.testing.assert_allclose(observed, stated, atol=3 * 0.5 / 4000**0.5)
  table["std"] *= 0.2
  _, observed = examples.calibration(
    _method("regression", predictive=law), table
  )
  assert np.abs(observed - stated).max() > 0.1


def test_weights_of_examples_are_shown_if_those_of_any_seed_differ(tmp_path):
  """A seed whose examples all have equal weights is not enough."""
  columns = (
    "weighting,seed,target,prediction,p_no,p_yes,weight_sight,weight_sound"
  )
  alike = [
    f"kl,{s},no,no,0.9,0.1,0.{s},0.{9 - s}" for s in (3, 4) for _ in range(5)
  ]
  differing = [
    *alike[:5],
    *(f"kl,4,yes,no,0.9,0.1,0.{k},0.{9 - k}" for k in range(1, 6)),
  ]
  shown = []
  for rows in (alike, differing):
    (tmp_path / "predictions.csv").write_text("\n".join([columns, *rows]))
    method = _method("multiclass")
    row = {
      "choice": {"variant": "kl", "strength": 1.0, "scale": 1.0},
      "metrics": {"ece": [0.0]},
    }
    run = method.run._replace(path=tmp_path)
    method = method._replace(run=run, row=row)
    problem = study.Problem("made", "accuracy", {"kl": method}, {}, {}, {})
    calibrations, weights = examples.draw_examples(problem)
    shown.append([p.title for p in [*calibrations, *weights]])
  first = "calibration on the test split, all seeds"
  assert shown[0] == [first]
  assert shown[1] == [
    first, "kl: weights of test examples", "kl: correctness by weight"
  ]  # fmt: skip


def test_fifths_are_of_each_seed_s_own_examples():
  # Weights differ between seeds: pooled fifths would separate seeds.
  weights = np.array([*range(1, 11), 0, *range(101, 111)], float)
  seeds = np.array([0] * 11 + [1] * 10)
  scores = np.where(seeds == 0, weights, weights - 100)
  scores[10] = 1e9  # This example lacks the modality.
  weight, score = examples.mean_by_fifth(seeds, weights, scores)
  np.testing.assert_allclose(score, [1.5, 3.5, 5.5, 7.5, 9.5])
  np.testing.assert_allclose(weight, score + 50)
  assert examples.mean_by_fifth(seeds, 0 * weights, scores).shape == (2, 0)
