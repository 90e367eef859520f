"""Stops runs by faults of machines, restarts them and checks their results.

  python -m experiments.benchmarks.fault_recovery --kills=20

Every stopped run is started again with the same flags. It must end with the
metrics, weights and predictions of a run that was never stopped, to the last
bit, or to 1e-5 where the number of devices or processes changes.
"""

import os
import pathlib
import tempfile

from absl import flags

from experiments import app

_KILLS = flags.DEFINE_integer("kills", 20, "runs to kill at random moments", 1)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the random moments", 0)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write the table to")


def main() -> None:
  """Prints the table, and writes it as JSON if asked to."""
  # `--help` must not wait for JAX.
  import jax

  from btw_jax.pipeline import files
  from btw_jax.reports import tables as tables_lib
  from experiments.benchmarks import fault_table
  from experiments.benchmarks import trial_runs

  with tempfile.TemporaryDirectory() as folder:
    trials = trial_runs.Trials(pathlib.Path(folder))
    rows = fault_table.rows(trials, _KILLS.value, _SEED.value)
  table = {
    "note": f"{os.cpu_count()} cores, JAX {jax.__version__}; a checkpoint after"
    f" every epoch of a run of {trials.seconds:.0f} s",
    "rows": rows,
  }
  if _OUTPUT.value:
    pathlib.Path(_OUTPUT.value).parent.mkdir(parents=True, exist_ok=True)
    files.write_json(_OUTPUT.value, table)
  print(tables_lib.with_note(table))


if __name__ == "__main__":
  app.run(main, {"Faults": ["kills", "seed", "output"]})
