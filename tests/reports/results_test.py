"""The tables of a study are tested on results whose truth is known."""

import shutil
import subprocess

import numpy as np
import pytest
from scipy import stats

from btw_jax.reports import results
from btw_jax.reports import tables
from support import studies


def test_the_table_marks_what_is_significant():
  problem = studies.problem(
    {
      "kl": (-0.05 + studies.noise(0.01, 1), 0.0),
      "mi": (0.02, 0.1),
      "auto": (studies.noise(0.1, 3), 0.0),
    }
  )
  rows = results.rows(problem)
  cells = {row["weighting"]: row for row in rows}
  assert cells["kl"]["Δ accuracy %"].startswith("-5.00 [")
  assert cells["kl"]["Δ accuracy %"].endswith("] ▼")
  assert cells["mi"]["Δ accuracy %"] == "+2.00 [+2.00, +2.00] ▲"
  assert cells["mi"]["Δ NLL"] == "-0.100 [-0.100, -0.100] ▲"
  assert cells["kl"]["Δ NLL"] == "+0.000 [+0.000, +0.000]"
  # The spread is about ten times that of the base.
  auto = cells["auto (mi, λ = 1)"]
  assert auto["spread"].endswith("*")
  values = problem.methods["auto"].row["metrics"]["accuracy"]
  expected = np.std(values) / np.std(studies.BASE)
  assert float(auto["spread"][:-1]) == pytest.approx(expected, abs=0.005)
  assert cells["mi"]["spread"] == "1.00"


def test_baselines_stand_below_the_base_with_tests_of_their_own():
  methods = {"gate": (0.001 * np.arange(10), 0.0), "mi": (0.0, 0.0)}
  baselines = {"ensemble": (0.02, -0.1), "best modality (a)": (0.0, 0.0)}
  problem = studies.problem(methods, baselines=baselines)
  rows = results.rows(problem)
  assert [row["weighting"] for row in rows] == [
    "uniform", "ensemble", "best modality (a)", "gate (without b)", "mi",
  ]  # fmt: skip
  assert rows[1]["Δ accuracy %"] == "+2.00 [+2.00, +2.00] ▲"
  assert rows[1]["Δ NLL"] == "+0.100 [+0.100, +0.100] ▼"
  # Baselines do not change the correction of the weightings.
  alone = studies.problem(methods)
  for key, comparison in alone.comparisons.items():
    assert problem.comparisons[key] == comparison
  lines = results.to_csv([problem]).splitlines()
  names = {line.split(",")[1] for line in lines}
  assert {"ensemble", "gate"} <= names
  assert "Δ ensemble" not in results.overview([problem])[0]


def test_what_was_held_fixed_names_who_chose_it():
  problem = studies.problem({"mi": (0.0, 0.0), "auto": (0.0, 0.0)})
  text = "\n".join(results.held_fixed(problem))
  assert (
    "Training: 3 epochs, batch size 32, AdamW with learning rate 0.001" in text
  )
  assert "chosen by" not in text.partition("Embedding scale")[0]
  assert "Embedding scale: 0.5 for every method, chosen from 1, 0.5" in text
  tuned = studies.problem({"mi": (0.0, 0.0), "mla": (0.0, 0.0)}, tune=4)
  text = "\n".join(results.held_fixed(tuned))
  assert (
    "learning rate 0.004 (chosen by the validation loss of the uniform model)"
  ) in text
  assert "dropout, but for the network of mla." in text


def test_ranks_compare_balanced_rows_and_the_ensemble():
  methods = {"ogm": (0.02, 0.1), "kl": (-0.01, -0.1)}
  problems = [
    studies.problem(
      methods,
      name=name,
      baselines={
        "ensemble": (0.05, 0.2),
        f"best modality ({best})": (0.9, 0.9),
      },
    )
    for name, best in (("one", "a"), ("two", "a"), ("three", "b"))
  ]
  rows = results.ranks(problems)
  assert [row["weighting"] for row in rows] == [
    "ensemble", "ogm", "uniform", "kl"
  ]  # fmt: skip
  # Three data sets rank four methods alike: chi² = 3·(4 − 1) = 9.
  expected = stats.chi2.sf(9, 3)
  heading = f"mean rank by accuracy (Friedman test: {tables.p_text(expected)})"
  assert [row[heading] for row in rows] == ["1.00", "2.00", "3.00", "4.00"]
  # The best modality takes no part, even if it is the same everywhere.
  names = {row["weighting"] for row in results.ranks(problems[:2])}
  assert names == {"ensemble", "ogm", "uniform", "kl"}
  # A method that a data set lacks does not take part, nor do baselines.
  del problems[2].methods["ogm"], problems[1].baselines["ensemble"]
  assert [row["weighting"] for row in results.ranks(problems)] == [
    "uniform", "kl"
  ]  # fmt: skip


def test_the_latex_compiles(tmp_path):
  program = shutil.which("pdflatex")
  if program is None:
    pytest.skip("no pdflatex: install it, say by apt-get install texlive")
  problem = studies.problem(
    {"kl": (-0.05, -0.1), "mi": (0.02, 0.1), "auto": (0.0, 0.0)},
    name="50%_of & all\\{$}~^#",
  )
  text = results.latex([problem])
  (tmp_path / "paper.tex").write_text(
    "\\documentclass{article}\\usepackage{booktabs,amssymb}"
    f"\\begin{{document}}{text}\\end{{document}}",
    encoding="utf-8",
  )
  done = subprocess.run(
    [program, "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout[-2000:]
  assert (tmp_path / "paper.pdf").stat().st_size > 0
  assert "Missing character" not in done.stdout
