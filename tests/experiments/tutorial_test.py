"""The tutorial, run as a newcomer runs it."""

import os
import re
import subprocess
import sys

import pytest

from btw_jax.pipeline import saved_config
from btw_jax.pipeline import workdir
from support import environment

pytestmark = pytest.mark.slow


def test_the_tutorial_says_what_it_promises(tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "experiments.tutorial"],
    cwd=tmp_path,
    env={**environment.of_child(), "XLA_FLAGS": environment.XLA_FLAGS},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  text = done.stdout
  assert "noise: idle, tells " in text
  assert "upper: needed" in text and "lower: needed" in text
  (whole,) = re.findall(r"^accuracy (0\.\d+)", text, re.MULTILINE)
  (partial,) = re.findall(r"^accuracy without half of `lower` (\S+)", text,
                          re.MULTILINE)  # fmt: skip
  assert float(whole) > 0.9
  assert 0.5 < float(partial) < float(whole)
  assert "the same predictions: True" in text
  assert sorted(os.listdir(tmp_path / "tutorial")) == [
    "report.html", "run", "training.png",
  ]  # fmt: skip
  saved = saved_config.read(tmp_path / "tutorial/run")
  assert workdir.is_finished(saved.config)
