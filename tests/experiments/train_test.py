"""Training on data of every kind, started as users do."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from support import dataset_files
from support import environment
from support import golden
from support import programs

pytestmark = pytest.mark.slow


def test_test_labels_are_read_last(tmp_path):
  arguments = (
    *programs.TINY, "--dataset=npz", "--weighting=uniform,kl+mi,auto",
    "--embedding_scale=auto", "--num_exchanges=5",
  )  # fmt: skip
  workdirs = []
  for name, order in (("true", None), ("moved", np.random.default_rng(9))):
    data = dataset_files.write_npz(
      tmp_path / f"{name}_data", missing=0.3, test_order=order
    )
    workdir = tmp_path / name
    programs.run(
      "train", *arguments, f"--data_dir={data}", f"--workdir={workdir}"
    )
    workdirs.append(workdir)
  for file in ("metrics.csv", "weights.csv"):
    assert (workdirs[0] / file).read_bytes() == (
      workdirs[1] / file
    ).read_bytes()
  first, second = (
    dataset_files.read_json(path / "results.json") for path in workdirs
  )
  assert first["embedding_scale"] == second["embedding_scale"]
  for a, b in zip(first["rows"], second["rows"], strict=True):
    for field in ("choice", "epoch", "valid_loss", "weights"):
      assert a.get(field) == b.get(field)
  assert first["rows"] != second["rows"]
  # The weight of `words` is 0 exactly where it is absent.
  data = np.load(tmp_path / "true_data/test.npz")
  absent = set(data["id"][~data["present_words"]])
  assert absent
  for row in dataset_files.read_table(workdirs[0] / "predictions.csv"):
    assert (float(row["weight_words"]) == 0) == (row["id"] in absent)


def test_examples_never_seen_are_weighed(tmp_path):
  data = dataset_files.write_npz(tmp_path / "data", multilabel=True)
  workdir = tmp_path / "run"
  programs.run(
    "train", *programs.TINY, "--dataset=npz", f"--data_dir={data}",
    f"--workdir={workdir}",
  )  # fmt: skip
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  new = dict(np.load(data / "test.npz"))
  new = {k: v[:7] for k, v in new.items()}
  np.savez(elsewhere / "test.npz", **new)
  programs.run("evaluate", f"--workdir={workdir}", f"--data_dir={elsewhere}")
  path = workdir / "on_elsewhere/evaluation_test_predictions.csv"
  rows = dataset_files.read_table(path)
  assert len(rows) == 2 * 2 * 7
  # The results of the seven do not depend on the other examples.
  before = {
    (r["id"], r["weighting"], r["seed"]): r
    for r in dataset_files.read_table(workdir / "predictions.csv")
  }
  for row in rows:
    same = before[row["id"], row["weighting"], row["seed"]]
    for field in ("weight_sound", "weight_words"):
      assert float(row[field]) == pytest.approx(float(same[field]), abs=1e-4)
    assert row["prediction"] == same["prediction"]
    for field in [name for name in row if name.startswith("p_")]:
      assert float(row[field]) == pytest.approx(float(same[field]), abs=1e-4)
  narrow = {**new, "x_sound": new["x_sound"][:, :2]}
  np.savez(elsewhere / "test.npz", **narrow)
  done = programs.run(
    "evaluate", f"--workdir={workdir}", f"--data_dir={elsewhere}", status=2
  )
  assert "'sound' has 2 features, but the model was trained on 3" in done.stderr


def test_regression_reports_in_the_targets_unit(tmp_path):
  workdir = tmp_path / "diabetes"
  programs.run(
    "train", *programs.TINY, "--dataset=diabetes", "--weighting=uniform,kl+mi",
    "--predictive=laplace", f"--workdir={workdir}", "--refit",
    "--divergence=js", "--knn_transform=rank",
  )  # fmt: skip
  assert dataset_files.read_json(workdir / "results.json")["information"] == {}
  rows = {
    r["name"]: r
    for r in dataset_files.read_json(workdir / "results.json")["rows"]
  }
  for s, seed in enumerate((0, 1)):
    pairs = [
      (float(r["prediction"]), float(r["target"]))
      for r in dataset_files.read_table(workdir / "predictions.csv")
      if r["weighting"] == "kl+mi" and int(r["seed"]) == seed
    ]
    mean, target = np.array(pairs).T
    # The target is measured in whole points, 25 to 346.
    assert target.min() >= 25
    assert target.max() <= 346
    np.testing.assert_array_equal(target, np.round(target))
    expected = rows["kl+mi"]["metrics"]["mae"][s]
    assert np.abs(mean - target).mean() == pytest.approx(expected, rel=1e-5)
  metrics = dataset_files.read_table(workdir / "metrics.csv")
  epochs = [float(r["mae"]) for r in metrics if r["stage"] == "multimodal"]
  assert 20 < np.mean(epochs) < 200
  # Each setting is trained again up to the median of its best epochs.
  best = dataset_files.read_json(workdir / "choices.json")["weightings"]
  last = [int(np.median(entry["epoch"])) for entry in best.values()]
  refit = [r for r in metrics if r["stage"] == "refit_multimodal"]
  assert max(int(r["epoch"]) for r in refit) == max(last)
  assert {r["stage"] for r in metrics} >= {"refit_unimodal"}
  programs.run("evaluate", f"--workdir={workdir}")
  again = dataset_files.read_json(workdir / "evaluation_test.json")["rows"]
  for row in again:
    assert row["metrics"] == rows[row["name"]]["metrics"]


def test_a_mixture_trains_on_data_that_needs_no_files(tmp_path):
  """Runs a recipe at small sizes, which later flags override."""
  path = tmp_path / "run"
  programs.run(
    "train",
    "--flagfile=experiments/recipes/mosi_moe.flags",
    "--dataset=digits", "--noise_modalities=1", *programs.TINY, "--num_heads=2",
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
  # The saved model predicts the same again.
  programs.run("evaluate", f"--workdir={path}")
  again = dataset_files.read_json(path / "evaluation_test.json")
  for a, b in zip(
    dataset_files.read_json(path / "results.json")["rows"],
    again["rows"],
    strict=True,
  ):
    assert a["metrics"] == b["metrics"]


def test_sequences_go_the_whole_way(tmp_path):
  """The programs go from files to predictions of a sequence model."""
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
    "--num_exchanges=5", "--weighting=uniform,gate", f"--workdir={path}",
  )  # fmt: skip
  done = programs.run("train", *arguments)
  results = dataset_files.read_json(path / "results.json")
  assert not results["information"]["sound"]["idle"]
  assert results["information"]["words"]["idle"]
  assert "gate: without words, the validation loss changes by" in done.stderr
  rows = {row["name"]: row["metrics"]["accuracy"] for row in results["rows"]}
  assert np.mean(rows["sound"]) > 0.8
  assert np.mean(rows["uniform"]) > 0.8
  assert np.mean(rows["words"]) < 0.75
  programs.run("evaluate", f"--workdir={path}", f"--data_dir={folder}")
  again = dataset_files.read_json(path / "evaluation_test.json")
  for a, b in zip(results["rows"], again["rows"], strict=True):
    assert a["metrics"] == b["metrics"]
  # More steps than in training are an error.
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


def test_programs_work_in_double_precision(tmp_path):
  """`JAX_ENABLE_X64` is read when JAX is imported: a process of its own."""
  data = dataset_files.write_npz(tmp_path / "data", missing=0.3)
  variables = {"JAX_ENABLE_X64": "1", "XLA_FLAGS": environment.XLA_FLAGS}

  def run(program, *flags):
    done = subprocess.run(
      [
        sys.executable, "-m", f"experiments.{program}", *flags,
        f"--workdir={tmp_path / 'run'}",
      ],
      cwd=environment.ROOT,
      env={**environment.of_child(), **variables},
      capture_output=True,
      text=True,
      check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout

  run(
    "train", *programs.TINY, "--dataset=npz", f"--data_dir={data}",
    "--model=moe", "--weighting=kl+mi,pid", "--balance=ogm_ge",
  )  # fmt: skip
  assert "kl+mi" in run("evaluate")
  results = dataset_files.read_json(tmp_path / "run/results.json")
  for row in results["rows"]:
    assert np.isfinite(row["metrics"]["nll"]).all()


def test_real_mosi_trains_and_beats_chance(mosi, tmp_path):
  workdir = tmp_path / "run"
  programs.run(
    "train", "--num_seeds=2", "--num_epochs=4", "--dataset=npz",
    "--weighting=uniform,kl+mi", "--num_exchanges=0",
    f"--data_dir={mosi / 'npz'}", f"--workdir={workdir}",
  )  # fmt: skip
  results = dataset_files.read_json(workdir / "results.json")
  assert (results["task"], results["sizes"]["test"]) == ("binary", 508)
  rows = {r["name"]: r for r in results["rows"]}
  # Chance on 508 labels is a half, with a standard deviation of 2.2 points.
  assert min(rows["kl+mi"]["metrics"]["accuracy"]) > 0.7


@pytest.mark.training
def test_a_text_encoder_trains_with_the_models(tmp_path):
  """A random BERT of two layers on files in MMSA's format."""
  dataset_files.mmsa(tmp_path, aligned=False)
  workdir = tmp_path / "run"
  arguments = (
    *programs.TINY, "--num_seeds=1", "--dataset=mmsa_mosi", "--batch_size=4",
    f"--text_encoder={golden.ROOT / 'bert'}", "--max_tokens=12",
    "--text_learning_rate=0.01", "--weighting=uniform,kl", "--sentiment",
    f"--data_dir={tmp_path}",
  )  # fmt: skip
  done = programs.run("train", *arguments, f"--workdir={workdir}")
  assert "texts are longer than --max_tokens" in done.stderr
  results = dataset_files.read_json(workdir / "results.json")
  names = [row["name"] for row in results["rows"]]
  assert {"text", "uniform", "kl"} <= set(names)
  losses = [
    float(row["loss"])
    for row in dataset_files.read_table(workdir / "metrics.csv")
    if row["run"] == "text" and row["split"] == "train"
  ]
  assert losses[-1] < losses[0]
  # Longer texts elsewhere lose their end; the predictions are the same.
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  fields = dataset_files.mmsa_split("test", aligned=False)
  fields["raw_text"] = np.array([t + " . ." * 20 for t in fields["raw_text"]])
  dataset_files.mmsa(elsewhere, aligned=False, changes={"test": fields})
  for name, folder in (("own", ""), ("other", elsewhere)):
    programs.run(
      "predict", f"--workdir={workdir}", f"--output={tmp_path / name}.csv",
      f"--data_dir={folder}",
    )  # fmt: skip
  own, other = (
    dataset_files.read_table(tmp_path / f"{name}.csv")
    for name in ("own", "other")
  )
  assert [row["id"] for row in own] == [row["id"] for row in other]
  assert own != other
  # A folder of another model is named.
  config = workdir / "config.json"
  text = config.read_text().replace(str(golden.ROOT / "bert"), "elsewhere")
  config.write_text(text)
  done = programs.run(
    "predict", f"--workdir={workdir}", f"--output={tmp_path}/p.csv", status=2
  )
  assert "elsewhere: is no folder, but the run was trained" in done.stderr
