"""Builds the table of faults: one trial per fault, one row per trial."""

import functools
import signal

from absl import logging
import numpy as np

from btw_jax.reports import tables as tables_lib
from experiments.benchmarks import faults
from experiments.benchmarks import trial_runs


def rows(
  trials: trial_runs.Trials, num_kills: int, seed: int
) -> list[dict[str, str]]:
  """Tries every fault; returns the rows of the table."""
  table = [_kills_row(trials, num_kills, seed)]
  for fault, trial in _faults(trials).items():
    outcome = trial()
    logging.info("%s: same result: %s", fault, _same_result(outcome))
    table.append(
      _row(
        fault,
        f"ends with status {outcome.status} in {outcome.seconds:.1f} s",
        f"{outcome.epochs_repeated}",
        _same_result(outcome),
      )
    )
  return table


def _kills_row(trials, num_kills, seed):
  moments = np.random.default_rng(seed).uniform(0, trials.seconds, num_kills)
  outcomes = []
  for moment in moments:
    outcome = faults.kill_run(trials, moment)
    logging.info(
      "killed after %.1f s: same result: %s", moment, _same_result(outcome)
    )
    outcomes.append(outcome)
  num_same = sum(not outcome.differences for outcome in outcomes)
  num_writing = sum(outcome.writing for outcome in outcomes)
  moments_text = tables_lib.quantity(num_kills, "random moment")
  return _row(
    f"`kill -9` at {moments_text}, {num_writing} of them while a checkpoint is"
    " written",
    "the same flags continue from the latest checkpoint",
    f"at most {max(outcome.epochs_repeated for outcome in outcomes)}",
    f"{num_same} of {num_kills}",
  )


def _faults(trials):
  """Returns a function per fault that tries it and returns the outcome."""
  interrupt = functools.partial(faults.interrupt_run, trials)
  on_four_devices = functools.partial(trials.start, num_devices=4)
  return {
    "SIGTERM": lambda: interrupt(signal.SIGTERM),
    "Ctrl-C": lambda: interrupt(signal.SIGINT),
    "a second SIGTERM": lambda: interrupt(signal.SIGTERM, signal.SIGTERM),
    "the newest checkpoint is damaged": lambda: interrupt(
      signal.SIGTERM, damage=faults.corrupt_checkpoint
    ),
    "the disk is full": lambda: faults.out_of_space(trials),
    "four devices after a start on one": lambda: interrupt(
      signal.SIGTERM, tolerance=faults.ROUNDING, restart=on_four_devices
    ),
    "one process of two is killed": lambda: faults.process_lost(trials),
  }


def _row(fault, event, epochs_repeated, same_result):
  return {
    "fault": fault,
    "what happens": event,
    "epochs repeated": epochs_repeated,
    "same result as an undisturbed run": same_result,
  }


def _same_result(outcome):
  if outcome.differences:
    return f"no: {', '.join(outcome.differences)}"
  return "yes"
