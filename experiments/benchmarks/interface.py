"""Measures what users of the interface wait for: imports, and runs again.

Every figure is that of a whole Python process, as users start it.
"""

import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from experiments.benchmarks import timing

_ROOT = pathlib.Path(__file__).parents[2]


def run(rounds: int) -> list[dict[str, str]]:
  """Compares imports with bare Python, and a finished run with its training."""
  readme = (_ROOT / "README.md").read_text(encoding="utf-8")
  (example,) = (
    code
    for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    if "btw_jax.fit(" in code
  )
  rows = [
    _compare(
      "import btw_jax / bare Python",
      ["-c", "import btw_jax"],
      ["-c", "pass"],
      rounds,
      "200 ms at most",
    ),
    _compare(
      "the ten lines of the README / import JAX",
      ["-c", example],
      ["-c", "import jax"],
      min(rounds, 3),
      "",
    ),
  ]
  with tempfile.TemporaryDirectory() as folder:
    program = ["-m", "experiments", "train", "--flagfile=digits"]
    again = [*program, f"--workdir={folder}/run"]
    training = _seconds(again)
    finished = [_seconds(again) for _ in range(rounds)]
  ratio = statistics.median(finished) / training
  rows.append(
    timing.row(
      "recipe digits: finished, started again / training",
      statistics.median(finished),
      training,
      ratio,
      "",
    )
  )
  return rows


def _compare(name, first, second, rounds, target):
  """Returns a row: both sides in turns, medians over rounds after the first."""
  times = [(_seconds(first), _seconds(second)) for _ in range(rounds + 1)][1:]
  a, b = (statistics.median(column) for column in zip(*times, strict=True))
  ratio = statistics.median(x / y for x, y in times)
  return timing.row(name, a, b, ratio, target)


def _seconds(arguments):
  """Returns the seconds of a Python process with these arguments."""
  start = time.perf_counter()
  subprocess.run(
    [sys.executable, *arguments], cwd=_ROOT, check=True, capture_output=True
  )
  return time.perf_counter() - start
