"""Runs that are stopped and resumed end as if they had not been stopped.

`python -m experiments.benchmarks.fault_recovery` kills more of them, at random
moments.
"""

import functools
import re
import signal
import time

import pytest

from experiments.benchmarks import faults
from experiments.benchmarks import trial_runs
from support import environment
from support import programs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
  """Returns trials of two seeds with a snapshot after every epoch."""
  flags = [flag for flag in trial_runs.FLAGS if "num_epochs" not in flag]
  return trial_runs.Trials(
    tmp_path_factory.mktemp("trials"),
    (*flags, "--num_epochs=8"),
    {**environment.of_child(), "XLA_FLAGS": environment.XLA_FLAGS},
    programs.Forked,
  )


def test_a_killed_run_goes_on_even_from_the_snapshot_before(trials):
  """The run is killed in stage 2, where a snapshot follows every epoch."""
  one = faults.interrupt_run(
    trials, signal.SIGKILL, epoch=4, damage=faults.corrupt_checkpoint
  )
  assert (one.status, one.differences) == (-signal.SIGKILL, [])
  assert "cannot be read" in one.restart_errors
  assert 1 <= one.epochs_repeated <= 3


def test_sigterm_saves_and_other_devices_go_on(trials):
  one = faults.interrupt_run(
    trials,
    signal.SIGTERM,
    epoch=3,
    tolerance=1e-5,
    restart=functools.partial(trials.start, num_devices=4),
  )
  assert (one.status, one.epochs_repeated, one.differences) == (143, 0, [])
  assert ": the best epochs so far are saved" in one.errors
  assert "Traceback" not in one.errors


def test_a_second_signal_ends_at_once(trials):
  workdir = trials.new_workdir()
  run = trials.start(workdir)
  trials.wait_for_epoch(workdir, "unimodal", 1, run)
  for _ in range(2):
    run.send_signal(signal.SIGINT)
    time.sleep(0.01)
  errors = trials.wait_for_end(run, 130)
  assert errors.rstrip().endswith("again to stop at once")


def test_a_full_disk_is_told_and_costs_no_result(trials):
  one = faults.out_of_space(trials)
  assert one.status == 2
  assert "snapshots/unimodal/1: was not written (File too large)" in one.errors
  assert re.search(r"run\d+/\S+: cannot be written \(File too", one.errors)
  assert "Traceback" not in one.errors
  assert one.differences == []


def test_a_lost_process_ends_the_other_which_names_it(trials):
  one = faults.process_lost(trials)
  assert one.seconds < 60
  assert one.status != 0
  # The message is that of the runtime, then the number of the process.
  assert re.search(r"tasks are unhealthy[^\n]*\n1\n", one.errors)
  assert one.differences == []
