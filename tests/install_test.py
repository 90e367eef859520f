"""The installed package, used from a folder outside of the project."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv

import numpy as np
import pytest

from support import environment
from support import markdown

pytestmark = pytest.mark.slow

_SOURCES = (
  "btw_jax", "experiments", "setup.cfg", "pyproject.toml", "README.md",
  "LICENSE",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """Returns a function that runs a program of a new environment.

  The environment has the package, installed by pip as by a user, and what it
  needs from the environment of the tests.
  """
  folder = tmp_path_factory.mktemp("installed")
  source, env = folder / "source", folder / "env"
  source.mkdir()
  for name in _SOURCES:
    path = environment.ROOT / name
    copy = shutil.copytree if path.is_dir() else shutil.copy
    copy(path, source / name)
  venv.create(env)
  paths = {"base": str(env), "platbase": str(env)}
  site = pathlib.Path(sysconfig.get_path("purelib", "venv", paths))
  (site / "needed.pth").write_text(sysconfig.get_path("purelib"))
  subprocess.run(
    [
      sys.executable, "-m", "pip", "--python", env, "install", "--quiet",
      "--no-deps", "--no-build-isolation", source,
    ],
    check=True,
  )  # fmt: skip
  shutil.rmtree(source)

  def run(*command, status=0):
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
      [env / "bin" / command[0], *map(str, command[1:])],
      cwd=folder,
      env=variables | {"XLA_FLAGS": environment.XLA_FLAGS},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == status, done.stderr
    return done

  return run


def test_ten_lines_give_a_table_of_ones_own_arrays(installed, tmp_path):
  (example,) = (
    code
    for document, code in markdown.examples()
    if document.name == "README.md" and "btw_jax.fit(" in code
  )
  lines = [line for line in example.splitlines() if line.strip()]
  assert len(lines) <= 10
  (tmp_path / "example.py").write_text(example)
  done = installed("python", tmp_path / "example.py")
  assert re.search(r"^text alone +\d", done.stdout, re.MULTILINE)
  assert re.search(r"^auto .*\d\.\d+ ± ", done.stdout, re.MULTILINE)


def test_importing_imports_no_library(installed):
  code = """
import sys
import btw_jax
modules = sys.modules.values()
files = [getattr(module, '__file__', None) or '' for module in modules]
print([file for file in files if "site-packages" in file])
"""
  (file,) = ast.literal_eval(installed("python", "-c", code).stdout)
  assert file.endswith("btw_jax/__init__.py")


def test_every_program_is_a_command_anywhere(installed, tmp_path):
  help_text = installed("btw-jax").stdout
  programs = re.findall(r"^  ([a-z]+) {2,}[A-Z]", help_text, re.MULTILINE)
  wanted = "train predict evaluate explain study inspect prepare interactions"
  assert {*wanted.split(), "interference"} <= set(programs)
  for program in programs:
    text = installed("btw-jax", program, "--help").stdout
    assert f"  btw-jax {program} --" in text
    assert "experiments" not in text
  wrong = installed("btw-jax", "trian", status=2).stderr
  assert wrong == "btw-jax: 'trian' is unknown: did you mean train?\n"
  wrong = installed("btw-jax", "train", "--seed=x", status=2).stderr
  assert wrong.startswith("btw-jax train: --seed=x: 'x' is not an integer")
  run = tmp_path / "run"
  installed(
    "btw-jax", "train", "--flagfile=digits_clean", "--num_seeds=1",
    "--num_epochs=1", "--num_exchanges=0", "--weighting=uniform",
    "--embedding_scale=1", f"--workdir={run}",
  )  # fmt: skip
  installed("btw-jax", "predict", f"--workdir={run}", "--seed=0")
  assert len(np.loadtxt(run / "predictions_test.csv", str)) > 100
