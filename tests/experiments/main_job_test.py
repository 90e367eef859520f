"""The main job and what the other programs tell about its runs."""

import re

import numpy as np
import pytest

from support import dataset_files
from support import programs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
  """Returns the workdir and the output of a small run of the main job."""
  path = tmp_path_factory.mktemp("runs") / "digits"
  done = programs.run(
    "train",
    "--flagfile=experiments/recipes/digits.flags",
    *programs.TINY,
    "--num_exchanges=20",
    f"--workdir={path}",
  )
  return path, done


@pytest.fixture(scope="module")
def misled(tmp_path_factory):
  """Returns the workdir of a run with mitigation for the words."""
  folder = tmp_path_factory.mktemp("misled")
  data, path = dataset_files.write_npz(folder / "data"), folder / "run"
  programs.run(
    "train", *programs.TINY, "--num_epochs=30", "--learning_rate=1e-2",
    "--mitigation=heuristic,adversarial,consistency", "--perturb=words",
    "--dataset=npz", f"--data_dir={data}", f"--workdir={path}",
  )  # fmt: skip
  return path


def test_the_main_job_leaves_what_it_should(digits):
  path, done = digits
  weightings = ["uniform", "gate", "kl", "mi", "kl+mi", "auto"]
  results = dataset_files.read_json(path / "results.json")
  rows = {row["name"]: row for row in results["rows"]}
  assert list(rows)[-6:] == weightings
  baselines = [r["name"] for r in rows.values() if r["kind"] == "baseline"]
  assert baselines[0] == "ensemble"
  assert len(rows) == 7 + len(baselines) + 6
  written = dataset_files.read_json(path / "config.json")
  assert written["config"]["noise_modalities"] == 3
  assert written["config"]["num_seeds"] == 2
  assert set(written["versions"]) >= {"python", "jax", "flax", "numpy"}

  metrics = dataset_files.read_table(path / "metrics.csv")
  unimodal = [r for r in metrics if r["stage"] == "unimodal"]
  # 7 modalities and 10 settings, 2 seeds, 3 epochs, 2 splits.
  assert len(unimodal) == 7 * 2 * 3 * 2
  multimodal = [r for r in metrics if r["stage"] == "multimodal"]
  assert len(multimodal) == 10 * 2 * 3 * 2
  gate = [r for r in metrics if r["stage"] == "gate"]
  assert len(gate) == 2 * 3 * 2 and {r["run"] for r in gate} == {"gate"}
  weights = dataset_files.read_table(path / "weights.csv")
  assert len(weights) == 10 * 2 * 3
  modalities = results["modalities"]
  for row in weights:
    total = sum(float(row[m]) for m in modalities)
    assert total == pytest.approx(1.0, abs=1e-4)

  predictions = dataset_files.read_table(path / "predictions.csv")
  assert len(predictions) == 6 * 2 * results["sizes"]["test"]
  for name in weightings:
    for s, seed in enumerate(results["seeds"]):
      predicted = [
        r for r in predictions
        if r["weighting"] == name and int(r["seed"]) == seed
      ]  # fmt: skip
      right = np.mean([r["prediction"] == r["target"] for r in predicted])
      expected = rows[name]["metrics"]["accuracy"][s]
      assert right == pytest.approx(expected, abs=1e-12)
      mean = np.mean([float(r["weight_noise0"]) for r in predicted])
      expected = rows[name]["weights"]["noise0"][s]
      assert mean == pytest.approx(expected, abs=1e-5)
  # The printed table is that of results.md, and no bar is drawn off a terminal.
  assert "pixels alone" in done.stdout
  assert "\r" not in done.stderr
  assert re.search(
    r"stage 3 of 3, gate: epoch 3 of 3, .* 0 s left", done.stderr
  )
  assert done.stderr.count("compiling stage ") == 3
  accuracy = 100 * np.array(rows["mi"]["metrics"]["accuracy"])
  cell = f"{accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f}"
  difference = accuracy - 100 * np.array(rows["uniform"]["metrics"]["accuracy"])
  error = difference.std(ddof=1) / 2**0.5
  line = next(li for li in done.stdout.splitlines() if li.startswith("mi "))
  assert cell in line
  assert f"{difference.mean():+.2f} ± {error:.2f}" in line
  assert cell in (path / "results.md").read_text(encoding="utf-8")


def test_the_tests_of_modalities_decide_about_the_gate(digits):
  path, done = digits
  results = dataset_files.read_json(path / "results.json")
  rows = {row["name"]: row for row in results["rows"]}
  modalities = results["modalities"]
  tested = results["information"]
  assert list(tested) == modalities
  idle = [m for m in modalities if tested[m]["idle"]]
  assert {"noise0", "noise1", "noise2"} >= set(idle) and idle
  for modality in modalities:
    (line,) = re.findall(rf"modality '{modality}': (.*)", done.stderr)
    assert f"{tested[modality]['alone']['rise']:.3f} nats" in line
    assert line.startswith("idle: ") == (modality in idle)
  choices = dataset_files.read_json(path / "choices.json")
  assert choices["idle"] == idle
  assert rows["gate"]["candidates"] == 2 and rows["auto"]["candidates"] == 10
  line = f"gate: without {', '.join(idle)}, the validation loss changes by"
  assert line in done.stderr


def test_evaluate_reproduces_the_run_exactly(digits):
  path, done = digits
  again = programs.run("evaluate", f"--workdir={path}")
  assert again.stdout.split("\n\n")[:3] == done.stdout.split("\n\n")[:3]
  before = dataset_files.read_json(path / "results.json")["rows"]
  after = dataset_files.read_json(path / "evaluation_test.json")["rows"]
  for a, b in zip(before, after, strict=True):
    assert a["metrics"] == b["metrics"]
    assert a.get("choice") == b.get("choice")
  assert (path / "evaluation_test_predictions.csv").read_text() == (
    path / "predictions.csv"
  ).read_text()
  programs.run("evaluate", f"--workdir={path}", "--split=valid")
  assert (
    dataset_files.read_json(path / "evaluation_valid.json")["sizes"]["valid"]
    == 120
  )


def test_explain_shows_what_each_modality_contributes(digits, tmp_path):
  path, _ = digits
  outputs = [tmp_path / "told.json", tmp_path / "bars.png"]
  done = programs.run(
    "explain", f"--workdir={path}", "--weighting=uniform,mi",
    "--num_examples=60", f"--output={outputs[0]}", f"--picture={outputs[1]}",
  )  # fmt: skip
  told = dataset_files.read_json(outputs[0])
  assert told["num_examples"] == 60
  assert outputs[1].stat().st_size > 10_000
  for weighting in ("uniform", "mi"):
    shares = [r for r in told["rows"] if r["weighting"] == weighting]
    for metric in ("likelihood", "accuracy"):
      *values, total = [r["mean"] for r in shares if r["metric"] == metric]
      assert len(values) == 7
      assert sum(values) == pytest.approx(total, abs=1e-4)
  assert re.search(r"\| pixels .* █+ +\|", done.stdout)
  assert "all together" in done.stdout


def test_another_configuration_is_refused(digits):
  path, _ = digits
  done = programs.run(
    "train",
    "--flagfile=experiments/recipes/digits.flags",
    *programs.TINY,
    "--batch_size=64",
    f"--workdir={path}",
    status=2,
  )
  assert "holds a run with other flags, --batch_size (32 there)" in done.stderr
  done = programs.run(
    "train", "--flagfile=experiments/recipes/digits.flags", *programs.TINY,
    "--weighting=kl", "--data_dir=x", f"--workdir={path}", status=2,
  )  # fmt: skip
  assert "--data_dir (empty there)" in done.stderr
  assert "--weighting (uniform," in done.stderr
  assert (path / "results.json").exists()


def test_interventions_tell_which_modality_sways(misled, digits):
  path = misled
  done = programs.run(
    "diagnose_interference", f"--workdir={path}", "--num_resamples=200"
  )
  report = dataset_files.read_json(path / "interference.json")
  mitigation_line = "mitigation: heuristic, adversarial, consistency"
  assert mitigation_line in (path / "results.md").read_text("utf-8")
  results = {
    r["name"]: r for r in dataset_files.read_json(path / "results.json")["rows"]
  }
  rows = {(r["model"], r["modality"], r["kind"]): r for r in report["effects"]}
  kinds = {kind for _, _, kind in rows}
  assert len(kinds) == 6 and len(rows) == len(report["effects"]) == 2 * 2 * 6
  for (model, modality, kind), row in rows.items():
    name = model.removesuffix(" + heuristic + adversarial + consistency")
    accuracy = results[name]["metrics"]["accuracy"]
    np.testing.assert_allclose(row["before"]["seeds"], accuracy, rtol=1e-6)
    for field in ("before", "after", "flipped", "divergence"):
      low, high = row[field]["interval"]
      assert low <= np.mean(row[field]["seeds"]) <= high
    flips = np.mean(row["flipped"]["seeds"])
    lost = np.subtract(row["before"]["seeds"], row["after"]["seeds"])
    assert np.all(np.abs(lost) <= np.array(row["flipped"]["seeds"]) + 1e-6)
    if kind == "mismatch":
      # The sound determines the label.
      assert flips > 0.6 if modality == "sound" else flips < 0.2
    if kind == "missing":
      assert np.mean(row["weight"][1]) == 0 < np.mean(row["weight"][0])
  for row in report["competence"]:
    unimodal_accuracy = results[row["modality"]]["metrics"]["accuracy"]
    np.testing.assert_allclose(row["alone"], unimodal_accuracy, rtol=1e-6)
    # With two modalities, one alone means intervening on the other.
    other = {"sound": "words", "words": "sound"}[row["modality"]]
    if row["kind"] in ("zero", "mean", "missing"):
      after = rows[row["model"], other, row["kind"]]["after"]["seeds"]
      np.testing.assert_allclose(row["after"], after, atol=1e-6)
  for line in report["tables"]["summary"]:
    assert line["mismatch"] in done.stdout
  table = (path / "interference.md").read_text("utf-8")
  assert all(line["after"] in table for line in report["tables"]["effects"])
  assert (path / "interference.png").stat().st_size > 10_000
  for flags, message in (
    (["--modalities=smell"], "--modalities=smell: no modality 'smell'"),
    (
      [f"--workdir={path},{digits[0]}"],
      f"--workdir={digits[0]}: has other data than {path}: compare runs",
    ),
  ):
    wrong = programs.run(
      "diagnose_interference", f"--workdir={path}", *flags, status=2
    )
    assert message in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1


def test_interactions_tell_which_modality_decides(misled):
  path = misled
  for joint in ("grid", "masked"):
    done = programs.run(
      "analyze_interactions", f"--workdir={path}", f"--joint={joint}",
      "--num_examples=10",
    )  # fmt: skip
    decompositions = dataset_files.read_json(path / "interactions.json")[
      "decompositions"
    ]
    assert [row["weighting"] for row in decompositions] == ["uniform", "kl+mi"]
    for row in decompositions:
      assert (row["first"], row["second"]) == ("sound", "words")
      atoms = {k: np.mean(v) for k, v in row["nats"].items()}
      assert atoms["gap"] < 1e-3
      assert atoms["unique1"] > 0.05 > 2 * abs(atoms["unique2"])
    cell = f"{np.mean(decompositions[0]['nats']['unique1']):.4f} ± "
    assert cell in done.stdout
    assert (path / "interactions_sound_words.png").stat().st_size > 10_000
  wrong = programs.run(
    "analyze_interactions", f"--workdir={path}", "--control=sound", status=2
  )
  assert "--control=sound: " in wrong.stderr
  assert len(wrong.stderr.strip().splitlines()) == 1
