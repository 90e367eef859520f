"""The program language_interactions, from a run to tables and pictures."""

import json

import pytest

from btw_jax.pipeline.audit import interactions as audit_interactions
from btw_jax.pipeline.language import run as run_lib
from support import language_runs
from support import programs

pytestmark = pytest.mark.slow

_TASKS = ("compare", "shown_choice")
_FEW = ("--num_values=20", "--num_questions=240", "--num_resamples=100")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """Trains a small run, and decomposes its decisions."""
  folder = tmp_path_factory.mktemp("interactions") / "run"
  # So fast a model gives the options of its questions most of the probability.
  config = language_runs.config(
    folder, tasks=_TASKS, num_seeds=1, num_epochs=6, learning_rate=1e-2
  )
  run_lib.train(config)
  done = programs.run("language_interactions", f"--workdir={folder}", *_FEW)
  return folder, done


def test_a_run_leaves_tables_pictures_and_answers(workdir):
  folder, done = workdir
  content = json.loads((folder / "language_interactions.json").read_text())
  tables = content["tables"]
  assert [row["task"] for row in tables["masked"]] == list(_TASKS)
  assert [row["task"] for row in tables["grid"]] == ["compare"]
  assert [row["atom"] for row in tables["layers"]] == ["R", "U1", "U2", "S"]
  assert {"layer 0", "layer 1", "layer 2", "true"} < set(tables["layers"][0])
  assert content["options"]["num_values"] == 20
  for name in ("language_tasks", "language_layers"):
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
  assert content["note"] in done.stdout
  assert done.stdout.endswith("answers_shown_choice.npz\n")


def test_an_audit_of_its_answers_finds_the_same_atoms(workdir):
  folder, _ = workdir
  output = folder / "audit"
  programs.run(
    "audit", f"--input={folder}/answers_compare.npz", f"--output={output}",
    "--num_permutations=19",
  )  # fmt: skip
  (row,) = json.loads((output / "audit.json").read_text())["interactions"]
  content = json.loads((folder / "language_interactions.json").read_text())
  (bits,) = content["decompositions"]["masked"]["compare"]["bits"]
  nats = [row["atoms"][a]["mean"] for a in audit_interactions.ATOMS]
  assert bits == pytest.approx([x / 0.6931471805599453 for x in nats])
  assert max(map(abs, bits)) > 1e-4
