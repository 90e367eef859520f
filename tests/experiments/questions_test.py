"""The program that asks pretrained models, on golden folders."""

import json

import numpy as np
import pytest

from support import golden
from support import programs
from support import question_files

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_questions_are_answered_and_audited(tmp_path, name):
  path = question_files.write(tmp_path)
  done = programs.run(
    "questions", f"--pretrained={golden.ROOT / name}", f"--questions={path}",
    f"--output={tmp_path / 'out'}", "--least_mass=0", "--dtype=float32",
  )  # fmt: skip
  assert "misleading_text" in done.stdout
  assert "Interactions (PID)" in done.stdout
  for kind, condition in (
    ("image_questions", "misleading_text"), ("text_questions", "noise_image"),
  ):  # fmt: skip
    folder = tmp_path / "out" / kind
    content = json.loads((folder / "audit.json").read_text())
    assert {"both", condition} <= {
      row["condition"] for row in content["conditions"]
    }
    assert (folder / "audit.html").exists()
    # The answers can be audited again.
    programs.run(
      "audit", f"--input={folder / 'answers.npz'}",
      f"--output={tmp_path / 'again'}",
    )  # fmt: skip
    again = json.loads((tmp_path / "again" / "audit.json").read_text())
    for row, before in zip(
      again["conditions"], content["conditions"], strict=True
    ):
      assert row["nll"] == pytest.approx(before["nll"], rel=1e-12)
      assert row["accuracy"] == before["accuracy"]


def test_several_devices_give_the_answers_of_one(tmp_path):
  path, answers = question_files.write(tmp_path, 12), []
  for number in (1, 4):
    output = tmp_path / f"on_{number}"
    programs.run(
      "questions", f"--pretrained={golden.ROOT / 'llava'}",
      f"--questions={path}", f"--output={output}", "--least_mass=0",
      "--dtype=float32", "--batch_size=4",
      xla_flags=f"--xla_force_host_platform_device_count={number}",
    )  # fmt: skip
    with np.load(output / "image_questions" / "answers.npz") as file:
      answers.append(dict(file))
  one, four = answers
  assert one.keys() == four.keys()
  for name in ("both", "vision", "text", "misleading_text"):
    np.testing.assert_allclose(one[name], four[name], atol=1e-5)


def test_wrong_input_is_one_line(tmp_path):
  path = question_files.write(tmp_path, 2)
  for flags, message in (
    ([f"--pretrained={tmp_path / 'none'}", f"--questions={path}"], "no folder"),
    (
      [f"--pretrained={golden.ROOT / 'bert'}", f"--questions={path}"],
      "give LLaVA or SmolVLM",
    ),
    (
      [f"--pretrained={golden.ROOT / 'llava'}", "--questions=none.json"],
      "none.json: cannot be read",
    ),
  ):
    done = programs.run(
      "questions", *flags, f"--output={tmp_path / 'out'}", status=2
    )
    (line,) = done.stderr.strip().splitlines()
    assert message in line
  assert not (tmp_path / "out").exists()
