"""The project's programs as users start them, but for the time of imports.

A process that has libraries imported, the project's own too, forks into them.
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
    told = os.waitstatus_to_exitcode(status) if pid else None
  else:
    told = os.fork()
    if not told:
      sys.exit(begin(**job))
  print(json.dumps(told), flush=True)
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
  """A Python process; what is used here of `subprocess.Popen`.

  Attributes:
    pid: its number.
    returncode: that it ended with; None before that is known.
  """

  def __init__(
    self, args: Sequence[str], *, env: Mapping[str, str], **ignored: object
  ):
    """Starts it.

    Args:
      args: the interpreter, `-m` and a module or `-c` and code, arguments.
      env: its environment.
      **ignored: the folder is the project's, all that it prints is kept.
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
    """The status that it ended with, or None."""
    if self.returncode is None:
      self.returncode = _ask(ended=self.pid)
    return self.returncode

  def communicate(self, timeout: float = 600) -> tuple[str, str]:
    """Waits for its end.

    Args:
      timeout: seconds to wait.

    Returns:
      What it printed, and what it wrote to stderr.

    Raises:
      subprocess.TimeoutExpired: if it does not end in time.
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
    """Sends it a signal, if it has not ended."""
    if self.poll() is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    """Ends it at once."""
    self.send_signal(9)


def run(
  program: str,
  *arguments: str,
  status: int = 0,
  xla_flags: str = environment.AS_WRITTEN,
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
  started = Forked(
    [sys.executable, "-m", f"experiments.{program}", *map(str, arguments)],
    env={**environment.of_child(), "XLA_FLAGS": xla_flags},
  )
  printed, errors = started.communicate()
  assert started.returncode == status, errors
  return subprocess.CompletedProcess(
    arguments, started.returncode, printed, errors
  )
