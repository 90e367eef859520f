"""The tests of studies, explanations and logs start the programs."""

import itertools
import shutil

import numpy as np
import pytest

from btw_jax.reports import page
from btw_jax.reports import study as study_lib
from support import browser
from support import dataset_files
from support import event_files
from support import programs

pytestmark = pytest.mark.slow

_TINY = (
  "--num_seeds=2", "--num_epochs=2", "--hidden_dim=8", "--embedding_dim=8",
  "--num_exchanges=4", "--embedding_scale=0.5",
)  # fmt: skip


SEEDS = {"first": 7, "second": 20}


_TABLES = ("results.md", "results.csv", "results.tex")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
  """Runs a study of two recipes that differ in their seeds."""
  folder = tmp_path_factory.mktemp("study")
  data = dataset_files.write_npz(folder / "data", missing=0.3)
  recipes = []
  for name, seed in SEEDS.items():
    recipes.append(folder / f"{name}.flags")
    recipes[-1].write_text(
      f"--dataset=npz\n--weighting=uniform,gate,kl+mi,auto\n--seed={seed}\n"
      "--hidden_dim=99\n"
    )
  arguments = (
    "study", f"--recipes={','.join(map(str, recipes))}", "--models=mlp", *_TINY,
    f"--workdir={folder / 'out'}", f"--data_dir={data}",
  )  # fmt: skip
  done = programs.run(*arguments)
  return folder, arguments, done


def test_a_study_compares_what_its_runs_measured(study):
  folder, _, done = study
  out = folder / "out"
  rows = dataset_files.read_table(out / "results.csv")
  assert done.stdout.startswith((out / "results.md").read_text("utf-8"))
  for name_of, seed in SEEDS.items():
    path = out / f"runs/{name_of}_mlp"
    config = dataset_files.read_json(path / "config.json")["config"]
    # The recipe sets the seed, the study the size, the axis the model.
    of_each = (config["seed"], config["hidden_dim"], config["model"])
    assert of_each == (seed, 8, "mlp")
    results = {
      r["name"]: r
      for r in dataset_files.read_json(path / "results.json")["rows"]
    }
    base = np.array(results["uniform"]["metrics"]["accuracy"])
    for name in ("uniform", "kl+mi", "auto"):
      (row,) = [
        r
        for r in rows
        if (r["problem"], r["weighting"], r["metric"])
        == (name_of, name, "accuracy")
      ]
      values = np.array(results[name]["metrics"]["accuracy"])
      assert float(row["mean"]) == pytest.approx(values.mean(), rel=1e-5)
      if name != "uniform":
        gain = (values - base).mean()
        assert float(row["gain"]) == pytest.approx(gain, abs=1e-6)
    assert results["auto"]["candidates"] == 9


def test_a_study_goes_on_and_tells_the_same(study):
  folder, arguments, _ = study
  out = folder / "out"
  before = {name: (out / name).read_bytes() for name in _TABLES}
  kept, again = (out / f"runs/{name}_mlp" for name in SEEDS)
  stamp = (kept / "metrics.csv").stat().st_mtime_ns
  shutil.rmtree(again)
  done = programs.run(*arguments)
  assert "first_mlp: finished" in done.stderr
  assert "second_mlp: finished" not in done.stderr
  assert (kept / "metrics.csv").stat().st_mtime_ns == stamp
  assert {name: (out / name).read_bytes() for name in _TABLES} == before


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--num_epochs=1", "first_mlp: holds a run with other flags"),
    ("--recipes=nowhere", "--recipes=nowhere: neither a file nor one of "),
    ("--recipes=study_quick", "--recipes=study_quick: neither a file nor one"),
    ("--recipes=", "--recipes= is empty: name recipes or flagfiles"),
    ("--mitigations=hope", "'hope' is unknown: use none, or some of heuristic"),
    ("--weighting=kl", "--weighting=kl: has no uniform"),
    ("--data_dir=", "--data_dir is needed: first and second read files"),
  ],
)
def test_a_wrong_study_is_refused_in_a_line(study, flag, message):
  wrong = programs.run(*study[1], *flag.split(), status=2)
  assert message in wrong.stderr
  assert len(wrong.stderr.strip().splitlines()) == 1


def test_a_data_set_needs_no_recipe(tmp_path):
  data = dataset_files.write_npz(tmp_path / "data")
  done = programs.run(
    "study", *programs.TINY, "--dataset=npz", f"--data_dir={data}",
    "--analyses=", f"--workdir={tmp_path / 'out'}",
  )  # fmt: skip
  assert done.stdout.strip().endswith(str(tmp_path / "out/report.html"))
  results = dataset_files.read_json(tmp_path / "out/runs/npz_mlp/results.json")
  assert results["sizes"]["train"] == 60


@pytest.fixture(scope="module")
def page_of(study):
  """Returns the report; one run has made-up routing of experts."""
  out = study[0] / "out"
  shutil.copytree(out, study[0] / "experts")
  routing = study[0] / "experts/runs/first_mlp/routing.csv"
  runs = [("uniform", 0.0)]
  runs += itertools.product(("mi", "kl+mi"), (0.25, 0.5, 0.75, 1.0))
  dataset_files.write_routing(routing, np.full((2, 1, 2, 3), 1 / 3), runs=runs)
  # The report omits analyses that did not run.
  (study[0] / "experts/runs/second_mlp/interactions.json").unlink()
  runs = study_lib.read(
    [(name, study[0] / f"experts/runs/{name}_mlp") for name in SEEDS]
  )
  return page.write(study_lib.problems(runs))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_report(page_of, tmp_path, width):
  report = browser.look(page_of, tmp_path, width)
  assert report["problems"] == []
  figures = []
  for name in report["figures"]:
    _, *labels, title = name.split(": ")
    # A label names all methods that are the same model.
    methods = "".join(labels).split(", ")
    figures += [f"{m}: {title}" if m else title for m in methods]
  for expected, number in (
    ("Δ accuracy from uniform, 95 % interval", 2),
    ("contribution of each modality, 95 % interval", 2),
    ("validation loss, mean ± std over seeds", 2),
    ("calibration on the test split, all seeds", 2),
    ("kl+mi: weights, mean ± std over seeds", 2),
    ("kl+mi: weights of test examples", 2),
    ("kl+mi: correctness by weight", 2),
    ("kl+mi: information by modality", 1),
    ("decisions changed by mismatch, %", 2),
    ("uniform: experts of the last layer", 1),
  ):
    assert figures.count(expected) == number, expected


def test_the_browser_finds_what_is_wrong(page_of, tmp_path):
  for change, message in (
    (("base64,", "base64,AAAA"), "shows nothing: first: Δ accuracy"),
    (("</body>", "<script>missing()</script></body>"), "missing is not"),
    (
      ("<h1>", f"<h1 style='white-space: nowrap'>{'long ' * 99}"),
      "page is wider than the window",
    ),
  ):
    report = browser.look(page_of.replace(*change, 1), tmp_path, 390)
    assert any(message in problem for problem in report["problems"]), message


def test_an_example_is_explained_as_it_was_predicted(study, tmp_path):
  """Explaining without a modality equals predicting a file without it."""
  folder, _, _ = study
  path, data = folder / "out/runs/first_mlp", folder / "data"
  test = dict(np.load(data / "test.npz"))
  row = int(np.flatnonzero(test["present_words"])[0])
  name = test["id"][row]
  programs.run(
    "explain", f"--workdir={path}", f"--id={name}", "--seed=8",
    f"--output={tmp_path / 'told.json'}",
  )  # fmt: skip
  explanation = dataset_files.read_json(tmp_path / "told.json")
  assert (explanation["seed"], explanation["target"]) == (8, test["y"][row])
  (tmp_path / "without").mkdir()
  test["present_words"][row] = False
  np.savez(tmp_path / "without/test.npz", **test)
  programs.run(
    "evaluate", f"--workdir={path}", f"--data_dir={tmp_path / 'without'}"
  )
  for weighting, entry in explanation["weightings"].items():
    full, without = (
      next(
        r
        for r in dataset_files.read_table(path / file)
        if (r["id"], r["weighting"], r["seed"]) == (name, weighting, "8")
      )
      for file in (
        "predictions.csv",
        "on_without/evaluation_test_predictions.csv",
      )
    )
    modalities = entry["modalities"]
    for field, row_of in (("prediction", full), (None, without)):
      values = entry[field] if field else modalities["words"]["without"]
      expected = float(row_of["p_1"])
      assert values == pytest.approx([expected], abs=1e-5)
    for modality in ("sound", "words"):
      weight = float(full[f"weight_{modality}"])
      assert modalities[modality]["weight"] == pytest.approx(weight, abs=1e-5)
    # With two modalities, removing one leaves the other alone.
    assert modalities["sound"]["only"] == modalities["words"]["without"]
    # KL(p || q) of one label.
    p, q = modalities["sound"]["alone"][0], entry["prediction"][0]
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    divergence = modalities["sound"]["divergence"]
    assert divergence == pytest.approx(expected, abs=1e-5)
  absent = np.load(data / "test.npz")
  lacks = absent["id"][~absent["present_words"]][0]
  done = programs.run("explain", f"--workdir={path}", f"--id={lacks}")
  assert "| words      |                 |" in done.stdout
  assert "nothing left" in done.stdout
  wrong = programs.run("explain", f"--workdir={path}", "--id=nobody", status=2)
  expected_error = "--id=nobody: not in the test split, whose ids are test0"
  assert expected_error in wrong.stderr
  wrong = programs.run(
    "explain", f"--workdir={path}", f"--id={name}", "--weighting=hope", status=2
  )
  assert "--weighting=hope: no weighting 'hope': use some of " in wrong.stderr


def test_tensorboard_is_told_what_the_tables_hold(study):
  path = study[0] / "out/runs/first_mlp"
  rows = dataset_files.read_table(path / "metrics.csv")
  choice = {
    r["name"]: r for r in dataset_files.read_json(path / "results.json")["rows"]
  }
  assert choice["kl+mi"]["choice"]["strength"] == 1
  scalars = {
    (step, tag): value
    for step, tag, value in event_files.read(
      path / "tensorboard/multimodal/kl+mi@1"
    )
  }
  for epoch in range(2):
    for split in ("train", "valid"):
      losses = [
        float(r["loss"])
        for r in rows
        if (r["stage"], r["run"], r["strength"])
        == ("multimodal", "kl+mi", "1.0")
        and (int(r["epoch"]), r["split"]) == (epoch, split)
      ]
      assert len(losses) == 2
      logged = scalars[epoch, f"loss/{split}"]
      assert logged == pytest.approx(np.mean(losses), rel=1e-4)
    total = scalars[epoch, "weight/sound"] + scalars[epoch, "weight/words"]
    assert total == pytest.approx(1.0, abs=1e-4)
  stages = {p.name for p in (path / "tensorboard").iterdir()}
  assert stages == {"unimodal", "multimodal"}
