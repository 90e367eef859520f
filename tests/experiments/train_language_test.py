"""The programs that train language models and perturb their questions."""

import json
import re

import numpy as np
import pytest

from support import programs

pytestmark = pytest.mark.slow

_SMALL = (
  "--audio=none", "--tasks=shown,arithmetic", "--embedding_dim=16",
  "--hidden_dim=16", "--num_layers=2", "--num_heads=2", "--num_kv_heads=1",
  "--num_epochs=1", "--num_train=256", "--num_valid=100", "--num_test=100",
)  # fmt: skip


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """Returns the folder of a small run of two seeds."""
  workdir = tmp_path_factory.mktemp("runs") / "plain"
  done = programs.run(
    "train_language", *_SMALL, "--num_seeds=2", f"--workdir={workdir}"
  )
  table = [line for line in done.stdout.splitlines() if line.startswith("|")]
  assert [re.findall(r"\w+", line)[0] for line in table[2:]] == [
    "shown", "arithmetic",
  ]  # fmt: skip
  return workdir


def test_a_run_trains_on_from_another_and_both_are_compared(workdir, tmp_path):
  robust = tmp_path / "robust"
  programs.run(
    "train_language", *_SMALL, "--num_seeds=2", f"--workdir={robust}",
    f"--start={workdir}", "--mitigation=heuristic,consistency",
  )  # fmt: skip
  done = programs.run(
    "language_interference", f"--workdir={workdir},{robust}",
    "--num_questions=100",
  )  # fmt: skip
  content = json.loads((robust / "language_interference.json").read_text())
  rows = content["tables"]["effects"]
  kinds = {(r["decided by"], r["irrelevant modality"]) for r in rows}
  assert kinds == {
    ("image", "misleading"), ("image", "facts"), ("text", "noise"),
    ("text", "black"), ("text", "white"), ("text", "other"),
  }  # fmt: skip
  assert "robust: changed %" in rows[0]
  assert content["note"] in done.stdout
  assert (robust / "language_interference.png").stat().st_size > 10_000


def test_questions_of_a_file_are_perturbed_by_their_own_facts(
  workdir, tmp_path
):
  entry = {
    "id": 1,
    "question": "two plus three ?",
    "multiple_choices": {"A": "five", "B": "one"},
    "multiple_choices_answer": "A",
    "facts": ["snow is cold ."],
  }
  file, output = tmp_path / "questions.json", tmp_path / "out.json"
  file.write_text(json.dumps([entry]), encoding="utf-8")
  flags = (f"--workdir={workdir}", f"--output={output}")
  done = programs.run(
    "language_interference", *flags, f"--questions={file}", status=2
  )
  assert "has nothing to perturb" in done.stderr
  entry |= {"image": "black.npy", "id": 2}
  np.save(tmp_path / "black.npy", np.zeros((8, 8)))
  file.write_text(json.dumps([entry]), encoding="utf-8")
  programs.run("language_interference", *flags, f"--questions={file}")
  rows = json.loads(output.read_text())["tables"]["effects"]
  assert [row["irrelevant modality"] for row in rows] == [
    "misleading", "facts", "own facts",
  ]  # fmt: skip


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--num_heads=3"], "--num_heads=3: does not divide --embedding_dim=64"),
    (["--tasks=smell"], "'smell' is unknown: use some of shown,"),
    (["--audio=spoken"], "--audio=spoken: set --data_dir to the folder"),
    (
      ["--audio=spoken", "--data_dir=nowhere"],
      "nowhere/train.npz: cannot be read",
    ),
    (["--start=nowhere"], "nowhere/config.json: no such file"),
    (
      ["--num_train=100", "--batch_size=128"],
      "--batch_size=128: give a multiple of the 1 devices",
    ),
    (["--balance=umt"], "--balance=umt: .*should be one of"),
  ],
)
def test_wrong_flags_are_one_line(flags, message, tmp_path):
  done = programs.run(
    "train_language", *flags, f"--workdir={tmp_path / 'x'}", status=2
  )
  assert re.search(message, done.stderr), done.stderr
  assert len(done.stderr.strip().splitlines()) == 1
  assert not (tmp_path / "x").exists()


def test_names_of_runs_must_fit(workdir):
  done = programs.run(
    "language_interference", f"--workdir={workdir}", "--names=a,b", status=2
  )
  assert "--names=a,b: give one name for each of the 1 folders" in done.stderr


def test_help_is_grouped_and_short():
  text = programs.run("train_language", "--help").stdout
  assert len(text.splitlines()) < 2 * text.count("\n  --")
  for title in ("Run:", "Questions:", "Model:", "Training:", "Other:"):
    assert title in text
