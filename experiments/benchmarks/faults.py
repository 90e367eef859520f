"""Faults that end a run; the run is then restarted and compared."""

import os
import pathlib
import time
from typing import Any

from experiments import cluster
from experiments.benchmarks import trial_runs

# Seconds between two signals, so that the run notices each of them.
_BETWEEN_SIGNALS = 0.01
# Most bytes of a file on the full disk: tables fit, checkpoints do not.
_FILE_LIMIT = 40_000
# Parameters differ by rounding when sums are taken over other devices.
ROUNDING = 1e-5


def kill_run(trials: trial_runs.Trials, moment: float) -> trial_runs.Outcome:
  """Kills a run some seconds after its start, whatever it does."""
  workdir = trials.new_workdir()
  run = trials.start(workdir)
  time.sleep(moment)
  run.kill()
  return trials.outcome(workdir, run, time.monotonic())


def interrupt_run(
  trials: trial_runs.Trials, *signals: int, epoch: int = 5, **options: Any
) -> trial_runs.Outcome:
  """Sends signals, one after the other, in the middle of stage 2.

  They are sent after an epoch of that stage. Returns the outcome, of
  `Trials.outcome` with `options`.
  """
  workdir = trials.new_workdir()
  run = trials.start(workdir)
  trials.wait_for_epoch(workdir, "multimodal", epoch, run)
  since = time.monotonic()
  for number in signals:
    run.send_signal(number)
    time.sleep(_BETWEEN_SIGNALS)
  return trials.outcome(workdir, run, since, **options)


def corrupt_checkpoint(workdir: pathlib.Path) -> None:
  """Cuts every file of the newest checkpoint of stage 2 in half."""
  folders = (workdir / "snapshots/multimodal").glob("*[0-9]")
  newest = max(folders, key=lambda path: int(path.name))
  for path in newest.rglob("*"):
    if path.is_file():
      os.truncate(path, path.stat().st_size // 2)


def out_of_space(trials: trial_runs.Trials) -> trial_runs.Outcome:
  """Starts a run that cannot write large files; its restart can."""
  workdir = trials.new_workdir()
  run = trials.start(workdir, file_limit=_FILE_LIMIT)
  return trials.outcome(workdir, run, time.monotonic())


def process_lost(trials: trial_runs.Trials) -> trial_runs.Outcome:
  """Kills one of two processes; returns the outcome of the other one."""
  workdir = trials.new_workdir()

  def start_both(workdir):
    address = cluster.free_address()
    return [
      trials.start(workdir, "--heartbeat=10", process=(address, 2, number))
      for number in range(2)
    ]

  def restart(workdir):
    first, second = start_both(workdir)
    trials.wait_for_end(second)
    return first

  survivor, victim = start_both(workdir)
  trials.wait_for_epoch(workdir, "multimodal", 3, survivor)
  victim.kill()
  return trials.outcome(
    workdir, survivor, time.monotonic(), tolerance=ROUNDING, restart=restart
  )
