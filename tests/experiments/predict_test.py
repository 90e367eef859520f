"""A finished run, started again, evaluated and asked for predictions."""

import json
import shutil

import numpy as np
import pytest

from support import dataset_files
from support import programs

pytestmark = pytest.mark.slow

NAMES = np.array(["never", "often"])


def _train(data, workdir, *flags, status=0):
  return programs.run(
    "train", *programs.TINY, "--dataset=npz", f"--data_dir={data}",
    f"--workdir={workdir}", *flags, status=status,
  )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Returns the data, the workdir and the log of a run on named classes."""
  folder = tmp_path_factory.mktemp("named")
  data = dataset_files.write_npz(folder / "data", missing=0.3)
  for path in data.glob("*.npz"):
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"y": NAMES[arrays["y"]]})
  return data, folder / "run", _train(data, folder / "run")


@pytest.fixture(scope="module")
def new(trained):
  """Returns a folder with the test examples, without their labels."""
  folder = trained[0].parent / "new"
  folder.mkdir()
  arrays = dict(np.load(trained[0] / "test.npz"))
  del arrays["y"]
  np.savez(folder / "test.npz", **arrays)
  return folder


def _probs(rows):
  return np.array([[float(r[f"p_{n}"]) for n in NAMES] for r in rows])


def test_predictions_without_labels_are_those_of_training(trained, new):
  _, workdir, _ = trained
  written = dataset_files.read_table(workdir / "predictions.csv")
  assert list(written[0]) == [
    "id", "target", "weighting", "seed", "prediction", "p_never", "p_often",
    "weight_sound", "weight_words",
  ]  # fmt: skip
  for row in written:
    likely = NAMES[int(float(row["p_often"]) > float(row["p_never"]))]
    assert row["prediction"] == likely
  flags = (f"--workdir={workdir}", f"--data_dir={new}", "--weighting=kl+mi")
  done = programs.run("predict", *flags)
  assert "predicted by kl+mi, 2 seeds: never: " in done.stdout
  table = dataset_files.read_table(workdir / "on_new/predictions.csv")
  by_seed = [
    [r for r in written if r["weighting"] == "kl+mi" and r["seed"] == seed]
    for seed in "01"
  ]
  assert [r["id"] for r in table] == [r["id"] for r in by_seed[0]]
  assert {r["seed"] for r in table} == {"all"}
  mean = np.mean([_probs(rows) for rows in by_seed], axis=0)
  np.testing.assert_allclose(_probs(table), mean, rtol=1e-6)
  # With a seed, its rows to the last digit, but for the target.
  output = workdir.parent / "seed.csv"
  programs.run("predict", *flags, "--seed=1", f"--output={output}")
  for row, expected in zip(
    dataset_files.read_table(output), by_seed[1], strict=True
  ):
    assert row == {k: v for k, v in expected.items() if k != "target"}


def test_the_default_weighting_has_the_lowest_validation_loss(trained, new):
  _, workdir, _ = trained
  chosen = dataset_files.read_json(workdir / "choices.json")["weightings"]
  losses = {name: np.mean(c["valid_loss"]) for name, c in chosen.items()}
  output = workdir.parent / "default"
  programs.run(
    "predict", f"--workdir={workdir}", f"--data_dir={new / 'test.npz'}",
    f"--output={output}",
  )  # fmt: skip
  table = dataset_files.read_table(output / "predictions.csv")
  assert {r["weighting"] for r in table} == {min(losses, key=losses.get)}


def test_nothing_of_other_data_is_replaced(trained, new, tmp_path):
  _, workdir, _ = trained
  output, flags = tmp_path / "out.csv", [f"--workdir={workdir}"]
  flags += [f"--data_dir={new}", f"--output={output}"]
  programs.run("predict", *flags)
  before = output.read_bytes()
  programs.run("predict", *flags)
  assert output.read_bytes() == before
  other = tmp_path / "other"
  other.mkdir()
  arrays = dict(np.load(new / "test.npz"))
  arrays = {k: v[:5] for k, v in arrays.items()}
  np.savez(other / "test.npz", **arrays)
  flags[1] = f"--data_dir={other}"
  done = programs.run("predict", *flags, status=2)
  assert f"{output}: holds results for other data: set --output" in done.stderr
  assert output.read_bytes() == before
  done = programs.run("evaluate", *flags[:2], status=2)
  assert "test.npz: has no field 'y': add the targets" in done.stderr


def test_a_finished_run_prints_its_table_at_once(trained):
  data, workdir, first = trained
  files = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
  again = _train(data, workdir)
  assert again.stdout == first.stdout
  assert "the run is finished, nothing is trained" in again.stderr
  assert "compiling" not in again.stderr
  assert files == {p: p.stat().st_mtime_ns for p in files}


def test_a_run_does_not_go_on_with_other_data(trained, tmp_path):
  data, workdir, _ = trained
  other = shutil.copytree(data, tmp_path / "other")
  arrays = dict(np.load(other / "test.npz"))
  arrays["y"] = arrays["y"][::-1]
  np.savez(other / "test.npz", **arrays)
  run = shutil.copytree(workdir, tmp_path / "run")
  # The folder itself may have moved: it is the content that counts.
  config = dataset_files.read_json(run / "config.json")
  config["config"]["data_dir"] = str(other)
  (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
  done = _train(other, run, status=2)
  assert "holds a run that was trained on other data" in done.stderr
  # The newest snapshot of each stage names the data as well.
  (run / "config.json").unlink()
  done = _train(data, run, "--learning_rate=0.02", status=2)
  assert "snapshots/" in done.stderr
  assert "with other flags, --learning_rate (0.001 there)" in done.stderr
  assert not (run / "config.json").exists()


def test_more_epochs_give_what_a_longer_run_gives(trained, tmp_path):
  data, workdir, _ = trained
  run = shutil.copytree(workdir, tmp_path / "run")
  more = _train(data, run, "--num_epochs=6")
  fresh = _train(data, tmp_path / "fresh", "--num_epochs=6")
  assert more.stdout.splitlines()[:-1] == fresh.stdout.splitlines()[:-1]
  for file in ("predictions.csv", "choices.json"):
    expected = (tmp_path / "fresh" / file).read_bytes()
    assert (run / file).read_bytes() == expected
  done = _train(data, run, "--num_epochs=5", status=2)
  assert "holds a run with other flags, --num_epochs (6 there)" in done.stderr
