"""Runs the project's programs without importing libraries each time.

A server process imports all libraries once and forks for every program.
"""

from collections.abc import Mapping, Sequence
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from support import environment

# A run with these flags takes seconds.
TINY = (
  "--num_seeds=2", "--num_epochs=3", "--hidden_dim=8", "--embedding_dim=8",
  "--num_exchanges=0",
)  # fmt: skip
# The flags of users. With those of `environment.XLA_FLAGS`, programs compile
# four times faster.
DEFAULT_XLA_FLAGS = ""

_SERVER = """
import gc, json, os, runpy, sys, warnings
import flax, grain, jax, matplotlib.figure, optax
import sklearn.model_selection, tensorflow_datasets
from orbax.checkpoint import v1
from btw_jax.data import builders, catalog
from btw_jax.pipeline import tensorboard, train_run
from btw_jax.reports import overview, page

def begin(arguments, environment, streams):
  for stream, path in enumerate(streams):
    os.dup2(os.open(path, os.O_RDWR), stream)
  os.environ.clear()
  os.environ.update(environment)
  kind, what, *sys.argv[1:] = arguments
  if kind == "-c":
    exec(what, {"__name__": "__main__"})
  else:
    runpy.run_module(what, run_name="__main__", alter_sys=True)

# Collections in programs leave what they share as it is.
gc.freeze()
# No thread of JAX runs before a program has begun.
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
for line in sys.stdin:
  job = json.loads(line)
  if "ended" in job:
    pid, status = os.waitpid(job["ended"], os.WNOHANG)
    reply = os.waitstatus_to_exitcode(status) if pid else None
  else:
    reply = os.fork()
    if not reply:
      sys.exit(begin(**job))
  print(json.dumps(reply), flush=True)
"""


@functools.cache
def _server():
  variables = environment.of_child()
  variables["PYTHONPATH"] += f"{os.pathsep}{environment.ROOT / 'tests'}"
  return subprocess.Popen(
    [sys.executable, "-c", _SERVER],
    cwd=environment.ROOT,
    env=variables,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )


def _ask(**job):
  server = _server()
  server.stdin.write(json.dumps(job) + "\n")
  server.stdin.flush()
  return json.loads(server.stdout.readline())


class Forked:
  """A Python process with the used part of `subprocess.Popen`.

  Attributes:
    pid: the number of the process.
    returncode: the exit status; None while the process runs.
  """

  def __init__(
    self, args: Sequence[str], *, env: Mapping[str, str], **ignored: object
  ):
    """Starts the process.

    Args:
      args: the interpreter, `-m` and a module or `-c` and code, arguments.
      env: the environment of the process.
      **ignored: options of `Popen` that have no effect here.
    """
    del ignored
    self._folder = tempfile.TemporaryDirectory()
    names = ("in", "out", "err")
    self._streams = [pathlib.Path(self._folder.name, name) for name in names]
    for path in self._streams:
      path.touch()
    self.returncode = None
    self.pid = _ask(
      arguments=args[1:],
      environment=dict(env),
      streams=[*map(str, self._streams)],
    )

  def poll(self) -> int | None:
    """Returns the exit status, or None while the process runs."""
    if self.returncode is None:
      self.returncode = _ask(ended=self.pid)
    return self.returncode

  def communicate(self, timeout: float = 600) -> tuple[str, str]:
    """Waits until the process ends.

    Args:
      timeout: seconds to wait.

    Returns:
      The texts of stdout and stderr.

    Raises:
      subprocess.TimeoutExpired: if the process does not end in time.
    """
    end = time.monotonic() + timeout
    while self.poll() is None:
      if time.monotonic() > end:
        raise subprocess.TimeoutExpired(str(self.pid), timeout)
      time.sleep(0.005)
    printed, errors = (
      path.read_text(encoding="utf-8") for path in self._streams[1:]
    )
    return printed, errors

  def send_signal(self, number: int) -> None:
    """Sends a signal if the process has not ended."""
    if self.poll() is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    """Kills the process."""
    self.send_signal(9)


def run(
  program: str,
  *arguments: str,
  status: int = 0,
  xla_flags: str = environment.XLA_FLAGS,
) -> subprocess.CompletedProcess:
  """Runs a program of `experiments` to its end.

  Args:
    program: the name of the module.
    *arguments: the flags.
    status: the expected exit status.
    xla_flags: the XLA flags of the process.

  Returns:
    The completed process with its output.
  """
  started = Forked(
    [sys.executable, "-m", f"experiments.{program}", *map(str, arguments)],
    env={**environment.of_child(), "XLA_FLAGS": xla_flags},
  )
  printed, errors = started.communicate()
  assert started.returncode == status, errors
  return subprocess.CompletedProcess(
    arguments, started.returncode, printed, errors
  )
