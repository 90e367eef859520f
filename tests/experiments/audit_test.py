"""The programs audit and profile, from files to a page."""

import json

import numpy as np
import pytest

from support import answer_files
from support import audits
from support import programs

pytestmark = pytest.mark.slow

_FEW = ("--num_permutations=19", "--num_resamples=100")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Returns a folder of four arrays, as PyTorch users save them."""
  folder = tmp_path_factory.mktemp("arrays")
  answers = audits.draw({"image": 1.0, "text": 1.5, "multimodal": 2.5})
  for name, values in answers.log_probs.items():
    np.save(folder / f"{name}.npy", np.exp(values).astype(np.float32))
  np.save(folder / "labels.npy", answers.labels)
  return folder


@pytest.fixture(scope="module")
def audited(folder):
  output = folder.parent / "audit"
  done = programs.run("audit", f"--input={folder}", f"--output={output}", *_FEW)
  return output, done


def test_four_arrays_become_a_page(audited):
  output, done = audited
  assert {path.name for path in output.iterdir()} == {
    "audit.html", "audit.md", "audit.json", "weights.csv",
    "interactions_image_text.csv", "training_weights.csv",
  }  # fmt: skip
  printed = done.stdout.splitlines()
  assert printed[-1] == str(output / "audit.html")
  assert (output / "audit.md").read_text().strip() in done.stdout
  content = json.loads((output / "audit.json").read_text())
  assert content["num_labelled"] == 120
  assert [row["modality"] for row in content["information"]] == [
    "image", "text",
  ]  # fmt: skip


def test_three_logs_become_a_page(tmp_path):
  world = answer_files.make_world(40)
  inputs = answer_files.WRITERS["lmms_eval"](tmp_path, world)
  output = tmp_path / "audit"
  programs.run("audit", f"--input={inputs}", f"--output={output}", *_FEW)
  content = json.loads((output / "audit.json").read_text())
  assert content["num_options"] == {"3": 20, "4": 20}
  (row,) = content["interactions"]
  assert row["num_answered"] == 40
  assert (output / "audit.html").read_text().startswith("<!doctype html>")


def test_a_profile_reads_audits(audited, tmp_path):
  output, _ = audited
  done = programs.run(
    "profile", f"--audits={output}", f"--output={tmp_path / 'profile'}"
  )
  assert "too few" in done.stdout
  assert (tmp_path / "profile" / "profile.csv").exists()


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--input=none.jsonl",), "none.jsonl: "),
    (("--input=both=a,both=b",), "--input=both=a,both=b: "),
    (("--input={folder}", "--by=task"), "--by=task: no file has this column"),
    (("--input={folder}", "--reference=x"), "--reference=x: no condition 'x'"),
    (("--input={folder}", "--top_share=2"), "--top_share"),
  ],
)
def test_wrong_flags_leave_nothing(folder, tmp_path, flags, message):
  flags = [flag.format(folder=folder) for flag in flags]
  output = tmp_path / "audit"
  done = programs.run("audit", *flags, f"--output={output}", *_FEW, status=2)
  (line,) = [
    x for x in done.stderr.splitlines() if x.startswith("experiments.audit: ")
  ]
  assert message in line
  assert "Traceback" not in done.stderr
  assert not output.exists()
