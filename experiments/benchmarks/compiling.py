"""Measures what compiling costs in the main job, and what the cache saves.

Each side is a whole run of the recipe digits in a process of its own: without a
cache, with an empty one, and with the one that the run before has filled.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).parents[2]
_FINISHED = re.compile(r"Finished XLA compilation of .* in ([\d.]+) sec")


def run(rounds: int) -> list[dict[str, str]]:
  """Runs the main job three times; the number of rounds does not matter."""
  del rounds
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    cache = pathlib.Path(folder, "cache")
    for name, flag in (
      ("no cache", ""),
      ("first run, cache empty", f"{cache}"),
      ("second run", f"{cache}"),
    ):
      workdir = pathlib.Path(folder, name.replace(" ", "_").replace(",", ""))
      seconds, compiled = _run(workdir, flag)
      kept = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
      rows.append(
        {
          "main job": name,
          "whole run, s": f"{seconds:.1f}",
          "XLA, s": f"{sum(compiled):.2f}",
          "programs": f"{len(compiled)}",
          "longest, s": f"{max(compiled):.2f}",
          "cache, MB": f"{kept / 1e6:.1f}",
          "target": "XLA under 2 s" if name == "second run" else "",
        }
      )
  return rows


def _run(workdir, cache):
  """Returns the seconds of a run, and of each compilation in it."""
  start = time.perf_counter()
  done = subprocess.run(
    [
      sys.executable, "-m", "experiments", "train", "--flagfile=digits",
      f"--workdir={workdir}", f"--compilation_cache={cache}",
    ],
    cwd=_ROOT,
    env={**os.environ, "JAX_LOG_COMPILES": "1"},
    check=True,
    capture_output=True,
    text=True,
  )  # fmt: skip
  seconds = time.perf_counter() - start
  return seconds, [float(x) for x in _FINISHED.findall(done.stderr)]
