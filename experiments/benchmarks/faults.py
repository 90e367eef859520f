"""Faults that end runs, and what becomes of a run that had one."""

from collections.abc import Callable, Mapping, Sequence
import csv
import dataclasses
import itertools
import os
import pathlib
import re
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

from btw_jax.pipeline import restore
from btw_jax.pipeline import workdir as workdir_lib
from experiments import cluster
from experiments.benchmarks import processes

# A run of some seconds that writes a snapshot after every epoch.
FLAGS = (
  "--dataset=digits", "--num_seeds=2", "--num_epochs=30", "--hidden_dim=16",
  "--embedding_dim=16", "--weighting=uniform,kl+mi", "--num_permutations=0",
  "--snapshot_seconds=0",
)  # fmt: skip
_FILES = ("metrics.csv", "weights.csv", "predictions.csv")
# Of any step of a run, in seconds.
_TIMEOUT = 300
# Seconds, enough for the first to be heard.
_BETWEEN_SIGNALS = 0.01


class Failed(Exception):
  """A run did something else than it should."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of a run that was stopped.

  Attributes:
    status: it ended with, the first time.
    errors: what it wrote to stderr, the first time.
    seconds: from the fault to its end.
    lost: epochs that had to be done again.
    told: what the second start wrote to stderr.
    differs: what of it is not as in a run that was never stopped.
    writing: whether a snapshot was being written.
  """

  status: int
  errors: str
  seconds: float
  lost: int
  told: str
  differs: Sequence[str]
  writing: bool = False


class Trials:
  """Runs of one configuration, in a folder."""

  def __init__(
    self, folder: pathlib.Path, arguments: Sequence[str] = FLAGS,
    environment: Mapping[str, str] | None = None,
    popen: Callable[..., subprocess.Popen] = subprocess.Popen,
  ):  # fmt: skip
    """Trains once without a fault.

    Args:
      folder: to work in.
      arguments: flags of every run.
      environment: of the programs; this one's by default.
      popen: starts a process.
    """
    self._folder, self._arguments = folder, tuple(arguments)
    self._environment = dict(environment or os.environ)
    self._popen = popen
    self._count = 0
    start = time.monotonic()
    self.whole = folder / "whole"
    self.end(self.start(self.whole))
    self.seconds = time.monotonic() - start

  def new(self) -> pathlib.Path:
    """A workdir that no run has used."""
    self._count += 1
    return self._folder / f"run{self._count}"

  def start(
    self,
    workdir: pathlib.Path,
    *more: str,
    num_devices: int | None = None,
    process: tuple[str, int, int] | None = None,
    limit: int | None = None,
  ) -> subprocess.Popen:
    """Starts a run.

    Args:
      workdir: of the run.
      *more: flags.
      num_devices: to simulate.
      process: where processes meet, how many, and which this is.
      limit: most bytes of a file.

    Returns:
      The process.
    """
    environment, extra = dict(self._environment), [*more]
    if num_devices:
      environment = processes.simulating(environment, num_devices)
    if process:
      names = (cluster.ADDRESS, cluster.COUNT, cluster.NUMBER)
      environment |= dict(zip(names, map(str, process), strict=True))
      extra.append("--cluster=env")
    run = self._popen(
      [
        sys.executable, "-m", "experiments.train", *self._arguments,
        f"--workdir={workdir}", *extra,
      ],
      cwd=pathlib.Path(__file__).parents[2],
      env=environment,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )  # fmt: skip
    if limit:
      resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (limit, limit))
    return run

  def end(self, run: subprocess.Popen, status: int | None = 0) -> str:
    """Waits for a run.

    Args:
      run: the process.
      status: that it must end with; any if None.

    Returns:
      What it wrote to stderr.

    Raises:
      Failed: if it ends otherwise.
    """
    _, errors = run.communicate(timeout=_TIMEOUT)
    if status is not None and run.returncode != status:
      raise Failed(f"ended with {run.returncode}, not {status}: {errors}")
    return errors

  def wait_for(
    self, workdir: pathlib.Path, stage: str, epoch: int, run: subprocess.Popen
  ) -> None:
    """Waits until a run has logged an epoch.

    Args:
      workdir: of the run.
      stage: name of the stage.
      epoch: its number.
      run: the process.

    Raises:
      Failed: if it ends, or hangs, before.
    """
    end = time.monotonic() + _TIMEOUT
    while logged(workdir, stage) <= epoch:
      if run.poll() is not None or time.monotonic() > end:
        raise Failed(f"never came to epoch {epoch}: {run.communicate()[1]}")
      time.sleep(0.01)

  def outcome(
    self,
    workdir: pathlib.Path,
    run: subprocess.Popen,
    since: float,
    *,
    spoil: Callable[[pathlib.Path], None] = lambda workdir: None,
    tolerance: float = 0.0,
    again: Callable[[pathlib.Path], subprocess.Popen] | None = None,
  ) -> Outcome:
    """Waits for a run that was stopped, and takes it up again to its end.

    Args:
      workdir: of the run.
      run: the process.
      since: when it was stopped.
      spoil: does further harm before the second start.
      tolerance: of the comparison with the run that was never stopped.
      again: starts it the second time; as the first time by default.

    Returns:
      What became of it.
    """
    errors = self.end(run, None)
    seconds = time.monotonic() - since
    stage = "multimodal" if logged(workdir, "multimodal") else "unimodal"
    before = logged(workdir, stage)
    writing = any(workdir.glob("snapshots/*/*tmp*"))
    spoil(workdir)
    told = self.end((again or self.start)(workdir))
    found = re.search(rf"{stage}: going on after epoch (\d+)", told)
    return Outcome(
      run.returncode,
      errors,
      seconds,
      max(0, before - (int(found[1]) if found else 0)),
      told,
      differing(self.whole, workdir, tolerance),
      writing,
    )


def logged(workdir: pathlib.Path, stage: str) -> int:
  """Epochs of a stage that a run has logged.

  Args:
    workdir: of the run.
    stage: name of the stage.

  Returns:
    How many.
  """
  path = workdir / "metrics.csv"
  text = path.read_text(encoding="utf-8") if path.exists() else ""
  rows = [line.split(",") for line in text.splitlines() if line[:1]]
  epochs = [r[5] for r in rows if r[0] == stage and len(r) > 6]
  return max((int(epoch) + 1 for epoch in epochs), default=0)


def differing(
  one: pathlib.Path, other: pathlib.Path, tolerance: float = 0.0
) -> list[str]:
  """What two finished runs do not have in common.

  Args:
    one: workdir of a run.
    other: workdir of another.
    tolerance: relative and absolute, of numbers.

  Returns:
    Names of files and checkpoints.
  """
  found = []
  for name in _FILES:
    both = [(path / name).read_text(encoding="utf-8") for path in (one, other)]
    if both[0] != both[1] and not (tolerance and _near(*both, tolerance)):
      found.append(name)
  models = [_models(path) for path in (one, other)]
  for name in models[0]:
    leaves = zip(*(jax.tree.leaves(each[name]) for each in models), strict=True)
    if not all(
      np.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in leaves
    ):
      found.append(f"checkpoints/{name}")
  return found


def _near(one, other, tolerance):
  """Whether two tables agree, number by number."""
  tables = [list(csv.reader(text.splitlines())) for text in (one, other)]
  if [len(row) for row in tables[0]] != [len(row) for row in tables[1]]:
    return False
  cells = (itertools.chain.from_iterable(table) for table in tables)
  for a, b in zip(*cells, strict=True):
    try:
      # Six digits are written of each.
      if not np.isclose(float(a), float(b), rtol=2e-5, atol=tolerance):
        return False
    except ValueError:
      if a != b:
        return False
  return True


def _models(workdir):
  written = workdir_lib.read(workdir)
  config = dataclasses.replace(written.config, workdir=str(workdir))
  loaded = restore.load(dataclasses.replace(written, config=config))
  return {"unimodal": loaded[1].params, **loaded[2]}


def killed(trials: Trials, moment: float) -> Outcome:
  """A run killed at once, wherever it is.

  Args:
    trials: the runs.
    moment: seconds after its start.

  Returns:
    What became of it.
  """
  workdir = trials.new()
  run = trials.start(workdir)
  time.sleep(moment)
  run.kill()
  return trials.outcome(workdir, run, time.monotonic())


def interrupt_run(
  trials: Trials, *signals: int, epoch: int = 5, **after: Any
) -> Outcome:
  """A run that gets signals in the middle of stage 2.

  Args:
    trials: the runs.
    *signals: one after the other.
    epoch: after which.
    **after: of `Trials.outcome`.

  Returns:
    What became of it.
  """
  workdir = trials.new()
  run = trials.start(workdir)
  trials.wait_for(workdir, "multimodal", epoch, run)
  since = time.monotonic()
  for number in signals:
    run.send_signal(number)
    time.sleep(_BETWEEN_SIGNALS)
  return trials.outcome(workdir, run, since, **after)


def corrupt_checkpoint(workdir: pathlib.Path) -> None:
  """Cuts every file of the newest snapshot of stage 2 in half.

  Args:
    workdir: of the run.
  """
  folders = (workdir / "snapshots/multimodal").glob("*[0-9]")
  newest = max(folders, key=lambda path: int(path.name))
  for path in newest.rglob("*"):
    if path.is_file():
      os.truncate(path, path.stat().st_size // 2)


def out_of_space(trials: Trials) -> Outcome:
  """A run that cannot write large files, started again where it can.

  Args:
    trials: the runs.

  Returns:
    What became of it.
  """
  workdir = trials.new()
  run = trials.start(workdir, limit=40_000)
  return trials.outcome(workdir, run, time.monotonic())


def process_lost(trials: Trials) -> Outcome:
  """Two processes, of which one is killed; then two again.

  Args:
    trials: the runs.

  Returns:
    What became of the one that was left.
  """
  workdir = trials.new()

  def both(workdir):
    address = cluster.free_address()
    return [
      trials.start(workdir, "--heartbeat=10", process=(address, 2, number))
      for number in range(2)
    ]

  def again(workdir):
    first, other = both(workdir)
    trials.end(other)
    return first

  left, lost = both(workdir)
  trials.wait_for(workdir, "multimodal", 3, left)
  lost.kill()
  return trials.outcome(
    workdir, left, time.monotonic(), tolerance=1e-5, again=again
  )
