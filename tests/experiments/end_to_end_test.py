"""The programs as users start them."""

import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from support import dataset_files
from support import environment
from support import programs

pytestmark = pytest.mark.slow

TINY = (
  "--num_seeds=2", "--num_epochs=3", "--hidden_dim=8", "--embedding_dim=8",
  "--num_permutations=0",
)  # fmt: skip


# One job runs as users run it; the others compile in a quarter of the time.
AS_USERS = ""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
  """A small run of the main job."""
  path = tmp_path_factory.mktemp("runs") / "digits"
  done = programs.run(
    "train",
    "--flagfile=experiments/recipes/digits.flags",
    *TINY,
    "--num_permutations=200",
    f"--workdir={path}",
  )
  return path, done


def test_the_main_job_leaves_what_it_should(digits):
  path, done = digits
  weightings = ["uniform", "kl", "mi", "kl+mi", "auto"]
  results = dataset_files.read_json(path / "results.json")
  rows = {row["name"]: row for row in results["rows"]}
  assert list(rows)[-5:] == weightings
  assert len(rows) == 12
  written = dataset_files.read_json(path / "config.json")
  assert written["config"]["noise_modalities"] == 3
  assert written["config"]["num_seeds"] == 2
  assert set(written["versions"]) >= {"python", "jax", "flax", "numpy"}

  metrics = dataset_files.read_table(path / "metrics.csv")
  unimodal = [r for r in metrics if r["stage"] == "unimodal"]
  # 7 modalities and 10 cells, 2 seeds, 3 epochs, 2 splits.
  assert len(unimodal) == 7 * 2 * 3 * 2
  assert len(metrics) - len(unimodal) == 10 * 2 * 3 * 2
  weights = dataset_files.read_table(path / "weights.csv")
  assert len(weights) == 10 * 2 * 3
  modalities = results["modalities"]
  for row in weights:
    total = sum(float(row[m]) for m in modalities)
    assert total == pytest.approx(1.0, abs=1e-4)

  predictions = dataset_files.read_table(path / "predictions.csv")
  assert len(predictions) == 5 * 2 * results["sizes"]["test"]
  for name in weightings:
    for s, seed in enumerate(results["seeds"]):
      own = [
        r for r in predictions
        if r["weighting"] == name and int(r["seed"]) == seed
      ]  # fmt: skip
      right = np.mean([r["prediction"] == r["target"] for r in own])
      expected = rows[name]["metrics"]["accuracy"][s]
      assert right == pytest.approx(expected, abs=1e-12)
      mean = np.mean([float(r["weight_noise0"]) for r in own])
      expected = rows[name]["weights"]["noise0"][s]
      assert mean == pytest.approx(expected, abs=1e-5)
  tested = results["information"]
  assert list(tested) == modalities
  assert all(len(tested[m]["p_value"]) == 2 for m in modalities)
  for modality in modalities:
    above = np.median(tested[modality]["p_value"]) < 0.05
    (line,) = re.findall(rf"modality '{modality}': .*", done.stderr)
    assert f"{np.mean(tested[modality]['value']):.3f} nats" in line
    assert line.endswith(": above its null") == above
    assert line.endswith(": NOT above its null") != above
  assert "NOT above" in done.stderr

  # The printed table is that of results.md, and no bar is drawn off a terminal.
  assert "pixels alone" in done.stdout
  assert "\r" not in done.stderr
  assert re.search(r"epoch 6 of 6, multimodal, .* 0 s left", done.stderr)
  accuracy = 100 * np.array(rows["mi"]["metrics"]["accuracy"])
  cell = f"{accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f}"
  difference = accuracy - 100 * np.array(rows["uniform"]["metrics"]["accuracy"])
  error = difference.std(ddof=1) / 2**0.5
  line = next(li for li in done.stdout.splitlines() if li.startswith("mi "))
  assert cell in line
  assert f"{difference.mean():+.2f} ± {error:.2f}" in line
  assert cell in (path / "results.md").read_text(encoding="utf-8")


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


def test_another_configuration_is_refused(digits):
  path, _ = digits
  done = programs.run(
    "train",
    "--flagfile=experiments/recipes/digits.flags",
    *TINY,
    "--batch_size=64",
    f"--workdir={path}",
    status=2,
  )
  assert "holds a run with other flags, --batch_size (32 there)" in done.stderr
  assert (path / "results.json").exists()


def test_test_labels_are_read_last(tmp_path):
  arguments = (
    *TINY, "--dataset=npz", "--weighting=uniform,kl+mi,auto",
    "--embedding_scale=auto",
  )  # fmt: skip
  found = []
  for name, order in (("true", None), ("moved", np.random.default_rng(9))):
    data = dataset_files.write_npz(
      tmp_path / f"{name}_data", missing=0.3, test_order=order
    )
    workdir = tmp_path / name
    programs.run(
      "train", *arguments, f"--data_dir={data}", f"--workdir={workdir}"
    )
    found.append(workdir)
  for file in ("metrics.csv", "weights.csv"):
    assert (found[0] / file).read_bytes() == (found[1] / file).read_bytes()
  first, second = (
    dataset_files.read_json(path / "results.json") for path in found
  )
  assert first["embedding_scale"] == second["embedding_scale"]
  for a, b in zip(first["rows"], second["rows"], strict=True):
    for field in ("choice", "epoch", "valid_loss", "weights"):
      assert a.get(field) == b.get(field)
  assert first["rows"] != second["rows"]
  # Where words are absent they weigh nothing.
  data = np.load(tmp_path / "true_data/test.npz")
  absent = set(data["id"][~data["present_words"]])
  assert absent
  for row in dataset_files.read_table(found[0] / "predictions.csv"):
    assert (float(row["weight_words"]) == 0) == (row["id"] in absent)


def test_examples_never_seen_are_weighed(tmp_path):
  data = dataset_files.write_npz(tmp_path / "data", multilabel=True)
  workdir = tmp_path / "run"
  programs.run(
    "train", *TINY, "--dataset=npz", f"--data_dir={data}",
    f"--workdir={workdir}",
  )  # fmt: skip
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  new = dict(np.load(data / "test.npz"))
  new = {k: v[:7] for k, v in new.items()}
  np.savez(elsewhere / "test.npz", **new)
  programs.run("evaluate", f"--workdir={workdir}", f"--data_dir={elsewhere}")
  rows = dataset_files.read_table(workdir / "evaluation_test_predictions.csv")
  assert len(rows) == 2 * 2 * 7
  # What the seven get does not depend on the examples beside them.
  before = {
    (r["id"], r["weighting"], r["seed"]): r
    for r in dataset_files.read_table(workdir / "predictions.csv")
  }
  for row in rows:
    same = before[row["id"], row["weighting"], row["seed"]]
    for field in ("weight_sound", "weight_words"):
      assert float(row[field]) == pytest.approx(float(same[field]), abs=1e-4)
    for a, b in zip(
      row["prediction"].split(), same["prediction"].split(), strict=True
    ):
      assert float(a) == pytest.approx(float(b), abs=1e-4)
  narrow = {**new, "x_sound": new["x_sound"][:, :2]}
  np.savez(elsewhere / "test.npz", **narrow)
  done = programs.run(
    "evaluate", f"--workdir={workdir}", f"--data_dir={elsewhere}", status=2
  )
  assert "'sound' has 2 features, but the model was trained on 3" in done.stderr


def test_regression_reports_in_the_targets_unit(tmp_path):
  workdir = tmp_path / "diabetes"
  programs.run(
    "train", *TINY, "--dataset=diabetes", "--weighting=uniform,kl+mi",
    "--predictive=laplace", f"--workdir={workdir}",
    "--divergence=js", "--knn_transform=rank",
  )  # fmt: skip
  assert dataset_files.read_json(workdir / "results.json")["information"] == {}
  rows = {
    r["name"]: r
    for r in dataset_files.read_json(workdir / "results.json")["rows"]
  }
  for s, seed in enumerate((0, 1)):
    own = [
      (float(r["prediction"]), float(r["target"]))
      for r in dataset_files.read_table(workdir / "predictions.csv")
      if r["weighting"] == "kl+mi" and int(r["seed"]) == seed
    ]
    mean, target = np.array(own).T
    # The target is measured in whole points, 25 to 346.
    assert target.min() >= 25
    assert target.max() <= 346
    np.testing.assert_array_equal(target, np.round(target))
    expected = rows["kl+mi"]["metrics"]["mae"][s]
    assert np.abs(mean - target).mean() == pytest.approx(expected, rel=1e-5)
  epochs = [
    float(r["mae"])
    for r in dataset_files.read_table(workdir / "metrics.csv")
    if r["stage"] == "multimodal"
  ]
  assert 20 < np.mean(epochs) < 200


def test_a_mixture_trains_on_data_that_needs_no_files(tmp_path):
  """Its recipe at small sizes, overridden by later flags."""
  path = tmp_path / "run"
  programs.run(
    "train",
    "--flagfile=experiments/recipes/mosi_moe.flags",
    "--dataset=digits", "--noise_modalities=1", *TINY, "--num_heads=2",
    "--num_layers=1", "--num_experts=5", f"--workdir={path}",
  )  # fmt: skip
  config = dataset_files.read_json(path / "config.json")["config"]
  assert config["model"] == "moe"
  assert (config["max_norm"], config["patience"]) == (0.8, 7)
  modalities = dataset_files.read_json(path / "results.json")["modalities"]
  routing = dataset_files.read_table(path / "routing.csv")
  # Two weightings, two seeds, three epochs, one layer.
  assert len(routing) == 2 * 2 * 3 * len(modalities)
  assert {row["modality"] for row in routing} == set(modalities)
  for row in routing:
    shares = [float(row[f"expert{e}"]) for e in range(5)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)
  for row in dataset_files.read_table(path / "metrics.csv"):
    charged = row["stage"] == "multimodal" and row["split"] == "train"
    assert all(
      (row[name] != "") == charged
      for name in ("importance", "load", "router_z")
    )
  # What was saved predicts the same again.
  programs.run("evaluate", f"--workdir={path}")
  again = dataset_files.read_json(path / "evaluation_test.json")
  for a, b in zip(
    dataset_files.read_json(path / "results.json")["rows"],
    again["rows"],
    strict=True,
  ):
    assert a["metrics"] == b["metrics"]


def test_sequences_go_the_whole_way(tmp_path):
  """From files to predictions, for a model of their steps."""
  folder = tmp_path / "data"
  folder.mkdir()
  for seed, (split, n) in enumerate(
    (("train", 60), ("valid", 30), ("test", 40))
  ):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    slope = np.linspace(-1, 1, 5) * (2 * y[:, None] - 1)
    np.savez(
      folder / f"{split}.npz",
      x_sound=slope[..., None] + 0.3 * rng.normal(size=(n, 5, 2)),
      length_sound=rng.integers(3, 6, n),
      x_words=rng.normal(size=(n, 3)),
      y=y,
    )
  path = tmp_path / "run"
  arguments = (
    "--flagfile=experiments/recipes/mimic_fusemoe.flags", "--dataset=npz",
    "--modalities=", f"--data_dir={folder}", "--num_experts=5", "--num_heads=2",
    "--num_layers=1", "--num_points=4", "--num_seeds=2", "--num_epochs=12",
    "--hidden_dim=16", "--embedding_dim=16", "--learning_rate=1e-2",
    "--num_permutations=0", "--weighting=uniform", f"--workdir={path}",
  )  # fmt: skip
  programs.run("train", *arguments)
  results = dataset_files.read_json(path / "results.json")
  rows = {row["name"]: row["metrics"]["accuracy"] for row in results["rows"]}
  assert np.mean(rows["sound"]) > 0.8
  assert np.mean(rows["uniform"]) > 0.8
  assert np.mean(rows["words"]) < 0.75
  programs.run("evaluate", f"--workdir={path}", f"--data_dir={folder}")
  again = dataset_files.read_json(path / "evaluation_test.json")
  for a, b in zip(results["rows"], again["rows"], strict=True):
    assert a["metrics"] == b["metrics"]
  # More steps than those trained on are refused.
  long = tmp_path / "long"
  shutil.copytree(folder, long)
  arrays = dict(np.load(folder / "test.npz"))
  for name in ("x_sound", "time_sound", "observed_sound"):
    if name in arrays:
      arrays[name] = np.concatenate([arrays[name], arrays[name][:, -1:]], 1)
  np.savez(long / "test.npz", **arrays)
  done = programs.run(
    "evaluate", f"--workdir={path}", f"--data_dir={long}", status=2
  )
  message = "has 6 steps of 2 features, but the model was trained on 5 steps of"
  assert message in done.stderr


def test_data_goes_from_files_over_records_to_predictions(tmp_path):
  """Prepared, trained on from disk and evaluated."""
  dataset_files.write_npz(tmp_path / "data", missing=0.2)
  out = tmp_path / "out"
  done = programs.run(
    "prepare_data", "--source=npz", f"--input={tmp_path / 'data'}",
    f"--data_dir={out}",
  )  # fmt: skip
  assert done.stdout.strip().endswith("npz/1.0.0")
  assert "converting train: 60 examples" in done.stderr
  path = tmp_path / "run"
  done = programs.run(
    "train", *TINY, "--dataset=tfds:npz", f"--data_dir={out}",
    "--reading=stream", f"--workdir={path}", "--weighting=kl+mi",
    xla_flags=AS_USERS,
  )  # fmt: skip
  assert "train: 60 examples stay on disk; shapes of batches: 1" in done.stderr
  results = dataset_files.read_json(path / "results.json")
  assert results["sizes"] == {"train": 60, "valid": 30, "test": 40}
  programs.run(
    "evaluate", f"--workdir={path}", f"--data_dir={out}", xla_flags=AS_USERS
  )
  again = dataset_files.read_json(path / "evaluation_test.json")
  for a, b in zip(results["rows"], again["rows"], strict=True):
    assert a["metrics"] == b["metrics"]


def test_data_that_training_refuses_is_shown_first(tmp_path):
  dataset_files.write_npz(tmp_path / "data")
  arrays = dict(np.load(tmp_path / "data/train.npz"))
  arrays["x_words"][7, 1] = np.nan
  arrays["id"][3] = arrays["id"][2]
  np.savez(tmp_path / "data/train.npz", **arrays)
  done = programs.run(
    "inspect_data", "--dataset=npz", f"--data_dir={tmp_path / 'data'}",
    f"--picture={tmp_path / 'data.png'}", status=2,
  )  # fmt: skip
  assert "| train   | 60" in done.stdout
  assert "train: 1 repeated id" in done.stdout
  assert (tmp_path / "data.png").read_bytes().startswith(b"\x89PNG")
  assert "modality 'words', row 7, column 1 is nan" in done.stderr
  wrong = tmp_path / "data/train.npz/data.png"
  done = programs.run(
    "inspect_data", "--dataset=npz", f"--data_dir={tmp_path / 'data'}",
    f"--picture={wrong}", status=2,
  )  # fmt: skip
  assert f"--picture={wrong}: cannot be written (" in done.stderr
  done = programs.run("prepare_data", "--source=npz", status=2)
  assert "--source=npz reads files ({split}.npz): set --input." in done.stderr
  done = programs.run("prepare_data", status=2)
  assert "prepare_data: --source is needed" in done.stderr


WRONG = [
  (["--weighting=lk"], "--weighting.*'lk' is unknown: use some of uniform"),
  (["--strength=2"], "--strength=2: '2' is not a number from 0 to 1"),
  (["--datset=npz"], "unknown command line flag 'datset'.*dataset"),
  (["--dataset=mosi"], "--dataset=mosi: unknown: use one of digits, di"),
  (["--num_epochs=0"], "--num_epochs=0: 0 is not a positive integer"),
  (["digits"], "'digits' is not a flag"),
  (["--modalities=smell"], "'smell' is unknown: use some of pixels"),
  (["--dataset=npz", "--data_dir=/nowhere"], "/nowhere: holds none of tra"),
  (["--batch_size=x"], "--batch_size=x: invalid literal"),
  (["--model=moe", "--num_heads=5"], "--num_heads=5: does not divide --emb"),
  (
    ["--model=moe", "--router=disjoint", "--num_experts=7"],
    "--num_experts=7: too few for --num_selected=2 of its own for each of 4"
    " modalities: give at least 8",
  ),
  (
    ["--model=moe", "--num_experts=2", "--num_selected=3"],
    "--num_experts=2: too few for --num_selected=3: give at least 3",
  ),
  (["--expert_parallelism=2"], "--expert_parallelism=2: needs --model=moe"),
  (
    ["--expert_parallelism=2", "--model=moe"],
    "--expert_parallelism=2: needs --parallelism=shard_map",
  ),
  (
    ["--expert_parallelism=3", "--model=moe", "--parallelism=shard_map"],
    "--expert_parallelism=3: does not divide --num_experts=16",
  ),
  (
    ["--expert_parallelism=2", "--model=moe", "--parallelism=shard_map"],
    "--expert_parallelism=2: does not divide the 1 devices",
  ),
]


def test_wrong_input_is_one_line(tmp_path):
  workdir = tmp_path / "run"
  for arguments, message in WRONG:
    done = programs.run("train", *arguments, f"--workdir={workdir}", status=2)
    assert re.search(message, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
  assert not workdir.exists()


def test_debug_shows_the_traceback(tmp_path):
  done = programs.run(
    "train", "--modalities=smell", "--debug", f"--workdir={tmp_path / 'x'}",
    status=1,
  )  # fmt: skip
  assert "Traceback" in done.stderr
  assert "InputError" in done.stderr


def test_help_is_short_and_tells_defaults():
  text = programs.run("train", "--help").stdout
  # Less than two lines per flag.
  assert len(text.splitlines()) < 2 * text.count("\n  --")
  assert max(map(len, text.splitlines())) < 80
  for title in ("Run:", "Data:", "Weighting:", "Model:", "Other:"):
    assert title in text
  assert re.search(r"--learning_rate +AdamW step.*\[0.001\]", text)
  assert "experiments.evaluate" in programs.run("evaluate", "--help").stdout


def test_real_mosi_trains_and_beats_chance(mosi, tmp_path):
  workdir = tmp_path / "run"
  programs.run(
    "train", "--num_seeds=2", "--num_epochs=4", "--dataset=npz",
    "--weighting=uniform,kl+mi", "--num_permutations=0",
    f"--data_dir={mosi / 'npz'}", f"--workdir={workdir}",
  )  # fmt: skip
  results = dataset_files.read_json(workdir / "results.json")
  assert (results["task"], results["sizes"]["test"]) == ("binary", 508)
  rows = {r["name"]: r for r in results["rows"]}
  # Half of 508 labels: a coin's standard deviation is 2.2 points.
  assert min(rows["kl+mi"]["metrics"]["accuracy"]) > 0.7


@pytest.fixture(scope="module")
def misled(tmp_path_factory):
  """A run that learned not to be misled by the words."""
  folder = tmp_path_factory.mktemp("misled")
  data, path = dataset_files.write_npz(folder / "data"), folder / "run"
  programs.run(
    "train", *TINY, "--num_epochs=30", "--learning_rate=1e-2",
    "--mitigation=heuristic,adversarial,consistency", "--perturb=words",
    "--dataset=npz", f"--data_dir={data}", f"--workdir={path}",
  )  # fmt: skip
  return path


def test_interventions_tell_which_modality_sways(misled, digits):
  path = misled
  done = programs.run(
    "diagnose_interference", f"--workdir={path}", "--num_resamples=200"
  )
  found = dataset_files.read_json(path / "interference.json")
  told = "mitigation: heuristic, adversarial, consistency"
  assert told in (path / "results.md").read_text("utf-8")
  results = {
    r["name"]: r for r in dataset_files.read_json(path / "results.json")["rows"]
  }
  rows = {(r["model"], r["modality"], r["kind"]): r for r in found["effects"]}
  kinds = {kind for _, _, kind in rows}
  assert len(kinds) == 6 and len(rows) == len(found["effects"]) == 2 * 2 * 6
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
      # The label is in the sound.
      assert flips > 0.6 if modality == "sound" else flips < 0.2
    if kind == "missing":
      assert np.mean(row["weight"][1]) == 0 < np.mean(row["weight"][0])
  for row in found["competence"]:
    own = results[row["modality"]]["metrics"]["accuracy"]
    np.testing.assert_allclose(row["alone"], own, rtol=1e-6)
    # Of two modalities, one alone is the other intervened on.
    other = {"sound": "words", "words": "sound"}[row["modality"]]
    if row["kind"] in ("zero", "mean", "missing"):
      after = rows[row["model"], other, row["kind"]]["after"]["seeds"]
      np.testing.assert_allclose(row["after"], after, atol=1e-6)
  for line in found["tables"]["summary"]:
    assert line["mismatch"] in done.stdout
  table = (path / "interference.md").read_text("utf-8")
  assert all(line["after"] in table for line in found["tables"]["effects"])
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
    found = dataset_files.read_json(path / "interactions.json")[
      "decompositions"
    ]
    assert [row["weighting"] for row in found] == ["uniform", "kl+mi"]
    for row in found:
      assert (row["first"], row["second"]) == ("sound", "words")
      atoms = {k: np.mean(v) for k, v in row["nats"].items()}
      assert atoms["gap"] < 1e-3
      assert atoms["unique1"] > 0.05 > 2 * abs(atoms["unique2"])
    cell = f"{np.mean(found[0]['nats']['unique1']):.4f} ± "
    assert cell in done.stdout
    assert (path / "interactions_sound_words.png").stat().st_size > 10_000
  wrong = programs.run(
    "analyze_interactions", f"--workdir={path}", "--control=sound", status=2
  )
  assert "--control=sound: " in wrong.stderr
  assert len(wrong.stderr.strip().splitlines()) == 1


def test_a_program_ends_quietly_when_nobody_reads_on(tmp_path):
  command = [
    sys.executable, "-m", "experiments.inspect_data", "--dataset=digits",
    f"--picture={tmp_path / 'data.png'}",
  ]  # fmt: skip
  run = subprocess.Popen(
    command, cwd=environment.ROOT, env=environment.of_child(), text=True,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )  # fmt: skip
  run.stdout.close()
  assert run.stderr.read() == ""
  assert run.wait() == 128 + signal.SIGPIPE
