"""The project's programs as users start them, but for the time of imports.

A process that has libraries imported, the project's own too, forks into each
program in turn.
"""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile

import conftest

_SERVER = """
import gc, json, os, runpy, sys, warnings
import flax, grain, jax, matplotlib.figure, optax
import sklearn.model_selection, tensorflow_datasets
from orbax.checkpoint import v1
from btw_jax.data import builders, catalog
from btw_jax.models import fusion
from btw_jax.reports import overview, page
from btw_jax.training import evaluate, event_writer, inputs, nulls, stages

# Collections in programs leave what they share as it is.
gc.freeze()
# No thread of JAX runs before a program has begun.
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
for line in sys.stdin:
  job = json.loads(line)
  if not os.fork():
    for stream, path in enumerate(job["streams"]):
      os.dup2(os.open(path, os.O_RDWR), stream)
    os.environ.update(job["environment"])
    sys.argv = [job["module"], *job["arguments"]]
    runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
    sys.exit()
  print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@functools.cache
def _server():
  return subprocess.Popen(
    [sys.executable, "-c", _SERVER],
    cwd=conftest.ROOT,
    env=conftest.environment(),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )


def run(
  program: str,
  *arguments: str,
  status: int = 0,
  xla_flags: str = conftest.AS_WRITTEN,
) -> subprocess.CompletedProcess:
  """Runs a program of `experiments` to its end.

  Args:
    program: name of its module.
    *arguments: flags.
    status: that it must end with.
    xla_flags: of its environment.

  Returns:
    What it printed.
  """
  server = _server()
  with tempfile.TemporaryDirectory() as folder:
    streams = [pathlib.Path(folder, name) for name in ("in", "out", "err")]
    for path in streams:
      path.touch()
    job = {
      "module": f"experiments.{program}",
      "arguments": [*map(str, arguments)],
      "environment": {"XLA_FLAGS": xla_flags},
      "streams": [*map(str, streams)],
    }
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    found = int(server.stdout.readline())
    printed = [path.read_text(encoding="utf-8") for path in streams[1:]]
  assert found == status, printed[1]
  return subprocess.CompletedProcess(arguments, found, *printed)
