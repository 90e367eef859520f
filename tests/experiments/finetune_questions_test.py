"""The program that fine-tunes pretrained models, on a golden folder."""

import pytest

from support import dataset_files
from support import golden
from support import programs
from support import question_files

pytestmark = pytest.mark.slow


@pytest.mark.training
def test_the_changed_model_is_asked_again(tmp_path):
  path = question_files.write(tmp_path, 16)
  workdir = tmp_path / "tuned"
  arguments = (
    f"--pretrained={golden.ROOT / 'smolvlm'}", f"--questions={path}",
    f"--workdir={workdir}", "--dtype=float32", "--batch_size=4",
    "--lora_share=1", "--learning_rate=0.02", "--save_model",
    "--mitigation=heuristic,consistency",
  )  # fmt: skip
  done = programs.run("finetune_questions", *arguments)
  results = dataset_files.read_json(workdir / "results.json")
  after = results["after"]
  assert f"{100 * after['accuracy']:.1f}" in done.stdout
  assert results["sizes"] == {"train": 12, "valid": 4}
  done = programs.run(
    "questions", f"--pretrained={workdir / 'model'}", f"--questions={path}",
    f"--output={tmp_path / 'out'}", "--least_mass=0", "--dtype=float32",
  )  # fmt: skip
  assert "misleading_text" in done.stdout
  # A finished run shows its table again.
  again = programs.run("finetune_questions", *arguments)
  assert "the run is finished" in again.stderr
  assert f"{100 * after['accuracy']:.1f}" in again.stdout
