"""Streams, devices, memory and the environment end in one line, or work."""

import errno
import subprocess
import sys

import jax
import numpy as np
import pytest

from btw_jax.pipeline import surroundings
from support import environment


def _reason(function):
  """Returns what is said of the error that a function raises."""
  try:
    function()
  except Exception as error:
    return surroundings.reason(error)
  raise AssertionError("nothing was raised")


def _raise(error):
  raise error


def test_errors_of_files_and_memory_are_one_line(tmp_path):
  full = OSError(errno.ENOSPC, "No space left on device", "run/a.csv")
  assert _reason(lambda: _raise(full)).startswith(
    "run/a.csv: cannot be written (No space left on device): make room"
  )
  (tmp_path / "file").write_text("")
  assert "file/x: cannot be used (Not a directory): check" in _reason(
    lambda: (tmp_path / "file/x").read_text()
  )
  assert "too little memory (Unable to allocate" in _reason(
    lambda: np.zeros(10**15)
  )
  assert "there is too little memory (" in _reason(
    lambda: jax.block_until_ready(jax.numpy.zeros((10**7, 10**7)))
  )


def test_a_defect_has_no_such_line():
  for error in (TypeError("x"), OSError("no file"), AssertionError()):
    assert _reason(lambda error=error: _raise(error)) == ""


def test_settings_that_the_programs_do_not_support_are_refused(monkeypatch):
  for variable, wrong, fine in (
    ("JAX_DISABLE_JIT", "1", "false"),
    ("JAX_NUMPY_RANK_PROMOTION", "raise", "warn"),
    ("JAX_NUMPY_DTYPE_PROMOTION", "strict", "standard"),
  ):
    monkeypatch.setenv(variable, wrong)
    line = surroundings.check_environment()
    assert line.startswith(f"{variable}={wrong}: the programs do not run")
    monkeypatch.setenv(variable, fine)
    assert surroundings.check_environment() == ""


_OPEN = """
import resource
from btw_jax.pipeline import surroundings
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(surroundings.check_environment())
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
  ("soft", "hard", "wrong", "raised"),
  [(40, 2000, False, 1024), (40, 100, False, 100), (31, 31, True, 31)],
)
def test_the_limit_of_open_files_is_raised_or_named(soft, hard, wrong, raised):
  done = environment.run_code(_OPEN.format(soft=soft, hard=hard))
  message, limit = done.stdout.splitlines()
  assert message.startswith("only 31 files may be open: raise") == wrong
  assert (bool(message), int(limit)) == (wrong, raised)


_PRINT = """
from btw_jax.pipeline import surroundings
surroundings.prepare_streams()
import sys
print("Δ MAE  1.2 ± 0.3, ρ −.5, Zürich → 日")
print("done", file=sys.stderr)
"""


def _run(*, shell="", **variables):
  variables = {"PYTHONUTF8": "0", **variables}
  return subprocess.run(
    ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, _PRINT],
    env={**environment.of_child(), **variables},
    capture_output=True,
    check=False,
  )


@pytest.mark.parametrize(
  ("encoding", "printed"),
  [
    ("utf-8", "Δ MAE  1.2 ± 0.3, ρ −.5, Zürich → 日"),
    ("ascii", "d MAE  1.2 +- 0.3, rho -.5, Zurich -> ?"),
    ("cp1252", "d MAE  1.2 ± 0.3, rho -.5, Zürich -> ?"),
  ],
)
def test_symbols_that_a_terminal_lacks_are_shown_in_ascii(encoding, printed):
  done = _run(PYTHONIOENCODING=encoding)
  assert done.returncode == 0, done.stderr
  assert done.stdout.decode(encoding).strip() == printed


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams_are_no_error(closed):
  done = _run(shell=closed)
  assert (done.returncode, b"Error" in done.stderr) == (0, False)


@pytest.mark.training
def test_a_missing_device_is_named(tmp_path):
  code = f"""
import sys
sys.argv = ["train", "--dataset=diabetes", "--workdir={tmp_path / "run"}"]
import runpy
runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)
"""
  for platform in ("CPU", "rocm"):
    done = subprocess.run(
      [sys.executable, "-c", code],
      env={**environment.of_child(), "JAX_PLATFORMS": platform},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert f"JAX_PLATFORMS={platform}: there is no such device here" in last


def test_help_needs_no_docstrings():
  done = subprocess.run(
    [sys.executable, "-OO", "-m", "experiments.train", "--help"],
    env=environment.of_child(),
    cwd=environment.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert "--workdir" in done.stdout
