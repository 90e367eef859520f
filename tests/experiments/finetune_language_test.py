"""The program that fine-tunes language models, from a run to a table."""

import json

import numpy as np
import pytest

from support import programs

pytestmark = pytest.mark.slow

_VARIANTS = ["before fine-tuning", "uniform", "GapScore", "random", "accuracy",
             "ablation"]  # fmt: skip


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """Returns the folder of a run of two models that learn a little."""
  workdir = tmp_path_factory.mktemp("runs") / "questions"
  programs.run(
    "train_language", f"--workdir={workdir}", "--audio=none",
    "--tasks=arithmetic,compare", "--embedding_dim=16", "--hidden_dim=16",
    "--num_layers=2", "--num_heads=2", "--num_kv_heads=1", "--num_seeds=2",
    "--num_epochs=4", "--num_train=512", "--num_valid=100", "--num_test=200",
    "--batch_size=64",
  )  # fmt: skip
  return workdir


def test_a_run_becomes_a_table_of_variants(workdir):
  done = programs.run(
    "finetune_language", f"--workdir={workdir}", "--num_seeds=3",
    "--num_train=256", "--num_epochs=2", "--batch_size=64", "--rank=2",
  )  # fmt: skip
  content = json.loads((workdir / "finetune.json").read_text())
  assert content["note"] in done.stdout
  assert done.stdout.splitlines()[-1] == str(workdir / "finetune.json")
  rows = content["rows"]
  assert [row["weights"] for row in rows] == 2 * _VARIANTS
  results = json.loads((workdir / "results.json").read_text())
  by_task = results["accuracies"]["test"]
  runs = content["runs"]
  before = runs["all"]["before fine-tuning"]
  # Both tasks have 100 questions; the third run starts from the first model.
  expected = np.mean([by_task["arithmetic"], by_task["compare"]], axis=0)
  np.testing.assert_allclose(before["accuracy"], expected[[0, 1, 0]])
  needed = runs["need two modalities"]["before fine-tuning"]
  np.testing.assert_allclose(
    needed["accuracy"], np.array(by_task["compare"])[[0, 1, 0]]
  )
  likelihoods = [tuple(runs["all"][name]["nll"]) for name in _VARIANTS]
  assert len(set(likelihoods)) == len(_VARIANTS)
  # Models go on learning, each run in its own way.
  uniform = runs["all"]["uniform"]["nll"]
  assert uniform[0] != uniform[2]
  assert np.mean(uniform) < np.mean(before["nll"])
  (random,) = (x for x in content["weights"] if x["weights"] == "random")
  (by_score,) = (x for x in content["weights"] if x["weights"] == "GapScore")
  assert random | {"weights": "GapScore"} == by_score
  assert float(by_score["count 3, %"]) > 0


def test_settings_that_do_not_fit_are_refused(workdir):
  done = programs.run(
    "finetune_language", f"--workdir={workdir}", "--num_train=513", status=2
  )
  assert "--num_train=513: the run has 512 training questions" in done.stderr
