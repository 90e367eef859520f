"""Stops runs in the ways that machines do, and checks what is left of them.

  python -m experiments.benchmarks.fault_recovery --kills=20

Every run is started again with the same flags, and must end as one that was
never stopped: the same metrics, weights and predictions, to the last bit.
"""

import functools
import os
import pathlib
import signal
import tempfile

from absl import flags
from absl import logging
import jax
import numpy as np

from btw_jax.pipeline import files
from btw_jax.reports import tables as tables_lib
from experiments import app
from experiments.benchmarks import faults

_KILLS = flags.DEFINE_integer("kills", 20, "runs to kill at random moments", 1)
_SEED = flags.DEFINE_integer("seed", 0, "of the moments", 0)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")


def rows(
  trials: faults.Trials, num_kills: int, seed: int
) -> list[dict[str, str]]:
  """Every fault, and what became of it.

  Args:
    trials: the runs.
    num_kills: runs to kill at random moments.
    seed: of the moments.

  Returns:
    Rows of a table.
  """
  moments = np.random.default_rng(seed).uniform(0, trials.seconds, num_kills)
  kills = []
  for moment in moments:
    kills.append(faults.killed(trials, moment))
    logging.info("killed after %.1f s: %s", moment, _ending(kills[-1]))
  good = sum(not one.differs for one in kills)
  found = [
    {
      "fault": f"`kill -9` at {num_kills} random moments,"
      f" {sum(one.writing for one in kills)} of them in a snapshot",
      "what happens": "the same flags go on from the latest snapshot",
      "what is lost": f"{max(one.lost for one in kills)} epochs at most",
      "ends as if nothing had been": f"{good} of {num_kills}",
    }
  ]
  for fault, trial in (
    ("SIGTERM", lambda: faults.interrupt_run(trials, signal.SIGTERM)),
    ("Ctrl-C", lambda: faults.interrupt_run(trials, signal.SIGINT)),
    (
      "a second SIGTERM",
      lambda: faults.interrupt_run(trials, signal.SIGTERM, signal.SIGTERM),
    ),
    (
      "the newest snapshot is damaged",
      lambda: faults.interrupt_run(
        trials, signal.SIGTERM, spoil=faults.corrupt_checkpoint
      ),
    ),
    ("the disk is full", lambda: faults.out_of_space(trials)),
    (
      "four devices in place of one",
      lambda: faults.interrupt_run(
        trials,
        signal.SIGTERM,
        tolerance=1e-5,
        again=functools.partial(trials.start, num_devices=4),
      ),
    ),
    ("one process of two is killed", lambda: faults.process_lost(trials)),
  ):
    one = trial()
    logging.info("%s: %s", fault, _ending(one))
    found.append(
      {
        "fault": fault,
        "what happens": f"ends with status {one.status} in {one.seconds:.1f} s",
        "what is lost": f"{one.lost} epochs",
        "ends as if nothing had been": _ending(one),
      }
    )
  return found


def _ending(one):
  return f"no: {', '.join(one.differs)}" if one.differs else "yes"


def main() -> None:
  """Prints the table, and writes it if asked to."""
  with tempfile.TemporaryDirectory() as folder:
    trials = faults.Trials(pathlib.Path(folder))
    found = rows(trials, _KILLS.value, _SEED.value)
  measured = {
    "note": f"{os.cpu_count()} cores, JAX {jax.__version__}; a snapshot after"
    f" every epoch of a run of {trials.seconds:.0f} s",
    "rows": found,
  }
  if _OUTPUT.value:
    pathlib.Path(_OUTPUT.value).parent.mkdir(parents=True, exist_ok=True)
    files.write_json(_OUTPUT.value, measured)
  print(tables_lib.measured(measured))


if __name__ == "__main__":
  app.run(main, {"Faults": ["kills", "seed", "output"]})
