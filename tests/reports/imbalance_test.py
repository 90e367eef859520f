"""Imbalance equals its definition, computed in loops."""

import json
import math

import numpy as np
import pytest

from btw_jax.reports import imbalance
from btw_jax.reports import page
from btw_jax.reports import results
from btw_jax.reports import study
from support import browser
from support import run_files
from support import studies


def test_equal_shares_are_balanced_and_a_single_one_is_not():
  assert imbalance.imbalance(np.full(4, 0.25)) == pytest.approx(0.0)
  assert imbalance.imbalance(np.array([0.0, 1.0, 0.0])) == pytest.approx(1.0)
  # 1 − (−¾·log ¾ − ¼·log ¼) / log 2
  entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
  expected = 1 - entropy / math.log(2)
  measured = imbalance.imbalance(np.array([0.75, 0.25]))
  assert measured == pytest.approx(expected)
  assert np.isnan(imbalance.imbalance(np.array([1.0])))


def test_only_positive_contributions_have_a_share():
  contributions = np.array([[3.0, -1.0, 0.0], [1.0, 2.0, -1.0]])
  parts = imbalance.shares(contributions)
  np.testing.assert_allclose(parts[:, 0], [0.75, 0.25])
  np.testing.assert_allclose(parts[:, 1], [0.0, 1.0])
  # Where nothing is positive, there is nothing to share.
  assert np.isnan(parts[:, 2]).all()
  np.testing.assert_allclose(
    imbalance.imbalance(parts)[1:], [1.0, np.nan], atol=1e-12
  )


def _problem(folder, by_method):
  """Writes a run with contributions `[M, S]` of the methods."""
  methods = {name: (0.0, 0.0) for name in by_method if name != "uniform"}
  run = run_files.write(folder, studies.problem(methods))
  rows = [
    {
      "weighting": name, "modality": modality, "metric": metric,
      "mean": 0.0, "interval": [0.0, 0.0], "seeds": values,
    }
    for name, contributions in by_method.items()
    for modality, values in zip(
      ("a", "b", None), (*contributions, [9.0, 9.0]), strict=True
    )
    # Contributions to the accuracy do not count.
    for metric, values in (
      ("likelihood", values), ("accuracy", [5.0] * len(values))
    )
  ]  # fmt: skip
  (folder / "contribution.json").write_text(json.dumps({"rows": rows}))
  (problem,) = study.problems([run])
  return problem


def test_the_table_compares_each_method_with_the_uniform_model(tmp_path):
  problem = _problem(
    tmp_path / "run",
    {
      "uniform": [[1.0, 3.0], [0.0, 1.0]],
      "ogm": [[1.0, 1.0], [1.0, 1.0]],
      "agm": [[-1.0, -1.0], [-1.0, -2.0]],
    },
  )
  base, ogm = imbalance.rows(problem)
  half = 1 + (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
  mean, std = (1 + half) / 2, (1 - half) / math.sqrt(2)
  assert base == {
    "weighting": "uniform", "a %": "87.5", "b %": "12.5",
    "imbalance": f"{mean:.3f} ± {std:.3f}", "Δ imbalance": "",
  }  # fmt: skip
  assert ogm["weighting"] == "ogm"
  assert (ogm["a %"], ogm["b %"]) == ("50.0", "50.0")
  assert ogm["imbalance"] == "0.000 ± 0.000"
  assert ogm["Δ imbalance"] == f"{-mean:+.3f} [{-1:+.3f}, {-half:+.3f}]"
  text = results.markdown([problem])
  assert imbalance.LEGEND in text
  assert "| Δ imbalance" in text
  html = page.write([problem])
  title = "share of each modality, with the imbalance"
  assert f">{mean:.2f}</text>" in browser.figures(html)[f"made: {title}"]
  assert ogm["Δ imbalance"] in html


def test_without_a_second_model_there_is_no_table(tmp_path):
  problem = _problem(tmp_path / "run", {"uniform": [[1.0], [2.0]]})
  assert imbalance.rows(problem) == []
  assert imbalance.draw(problem) == []
  assert imbalance.LEGEND not in results.markdown([problem])
  (tmp_path / "run/contribution.json").unlink()
  assert imbalance.measure(problem) == {}
