"""Training runs in processes of their own, which are stopped and restarted."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

from experiments import cluster
from experiments.benchmarks import processes
from experiments.benchmarks import run_comparison

# A run of some seconds that writes a checkpoint after every epoch.
FLAGS = (
  "--dataset=digits", "--num_seeds=2", "--num_epochs=30", "--hidden_dim=16",
  "--embedding_dim=16", "--weighting=uniform,kl+mi", "--num_exchanges=0",
  "--snapshot_seconds=0",
)  # fmt: skip
# Seconds that any step of a trial may take.
_TIMEOUT = 300


class UnexpectedEndError(Exception):
  """A run ended in another way than the trial expects."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of a run that was stopped, and of its restart.

  Attributes:
    status: exit status of the stopped run.
    errors: stderr of the stopped run.
    seconds: time from the fault to the end of the stopped run.
    epochs_repeated: epochs that the restart had to train again.
    restart_errors: stderr of the restart.
    differences: files and models that differ from those of a run that was never
      stopped.
    writing: whether the run was stopped while it wrote a checkpoint.
  """

  status: int
  errors: str
  seconds: float
  epochs_repeated: int
  restart_errors: str
  differences: Sequence[str]
  writing: bool = False


class Trials:
  """Runs of one configuration in a folder.

  Attributes:
    reference: workdir of a run that was never stopped.
    seconds: time that this run took.
  """

  def __init__(
    self, folder: pathlib.Path, arguments: Sequence[str] = FLAGS,
    environment: Mapping[str, str] | None = None,
    popen: Callable[..., subprocess.Popen] = subprocess.Popen,
  ):  # fmt: skip
    """Trains the reference run; `popen` starts its process."""
    self._folder, self._arguments = folder, tuple(arguments)
    self._environment = dict(environment or os.environ)
    self._popen = popen
    self._count = 0
    start = time.monotonic()
    self.reference = folder / "whole"
    self.wait_for_end(self.start(self.reference))
    self.seconds = time.monotonic() - start

  def new_workdir(self) -> pathlib.Path:
    """Returns a workdir that no run has used."""
    self._count += 1
    return self._folder / f"run{self._count}"

  def start(
    self,
    workdir: pathlib.Path,
    *more_flags: str,
    num_devices: int | None = None,
    process: tuple[str, int, int] | None = None,
    file_limit: int | None = None,
  ) -> subprocess.Popen:
    """Starts a run, and returns its process.

    `process` is the address of the coordinator, the number of processes and the
    index of this one; `file_limit` the most bytes that a file may have.
    """
    environment, extra = dict(self._environment), [*more_flags]
    if num_devices:
      environment = processes.simulate_devices(environment, num_devices)
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
    if file_limit:
      limits = (file_limit, file_limit)
      resource.prlimit(run.pid, resource.RLIMIT_FSIZE, limits)
    return run

  def wait_for_end(self, run: subprocess.Popen, status: int | None = 0) -> str:
    """Waits until a run ends with a status, any if None; returns its stderr."""
    _, errors = run.communicate(timeout=_TIMEOUT)
    if status is not None and run.returncode != status:
      raise UnexpectedEndError(
        f"the run ended with status {run.returncode}, not {status}: {errors}"
      )
    return errors

  def wait_for_epoch(
    self, workdir: pathlib.Path, stage: str, epoch: int, run: subprocess.Popen
  ) -> None:
    """Waits until a run has logged an epoch, counted from 0, of a stage."""
    deadline = time.monotonic() + _TIMEOUT
    while num_logged_epochs(workdir, stage) <= epoch:
      if run.poll() is not None or time.monotonic() > deadline:
        raise UnexpectedEndError(
          f"the run never reached epoch {epoch}: {run.communicate()[1]}"
        )
      time.sleep(0.01)

  def outcome(
    self,
    workdir: pathlib.Path,
    run: subprocess.Popen,
    since: float,
    *,
    damage: Callable[[pathlib.Path], None] = lambda workdir: None,
    tolerance: float = 0.0,
    restart: Callable[[pathlib.Path], subprocess.Popen] | None = None,
  ) -> Outcome:
    """Waits for the end of a stopped run, and restarts it to its full end.

    The run was stopped at `since` of `time.monotonic()`. `damage` does further
    harm to the workdir before `restart`; `tolerance` is that of the comparison
    with the reference run.
    """
    errors = self.wait_for_end(run, None)
    seconds = time.monotonic() - since
    stage = "multimodal"
    if not num_logged_epochs(workdir, stage):
      stage = "unimodal"
    before = num_logged_epochs(workdir, stage)
    # Orbax renames a temporary folder once a checkpoint is complete.
    writing = any(workdir.glob("snapshots/*/*tmp*"))
    damage(workdir)
    restart_errors = self.wait_for_end((restart or self.start)(workdir))
    # The log line says where the restart continues; without a checkpoint there
    # is no such line, and the stage begins again.
    resumed = re.search(rf"{stage}: going on after epoch (\d+)", restart_errors)
    return Outcome(
      run.returncode,
      errors,
      seconds,
      max(0, before - (int(resumed[1]) if resumed else 0)),
      restart_errors,
      run_comparison.differences(self.reference, workdir, tolerance),
      writing,
    )


def num_logged_epochs(workdir: pathlib.Path, stage: str) -> int:
  """Counts the epochs of a stage that the metrics of a run contain."""
  path = workdir / "metrics.csv"
  text = path.read_text(encoding="utf-8") if path.exists() else ""
  rows = [line.split(",") for line in text.splitlines() if line[:1]]
  # Column 0 is the stage and column 5 the epoch. The last row may be cut short
  # because the run is writing it.
  epochs = [r[5] for r in rows if r[0] == stage and len(r) > 6]
  return max((int(epoch) + 1 for epoch in epochs), default=0)
