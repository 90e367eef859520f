"""Measures speed as ratios of two things run side by side in one process.

  python -m experiments.benchmarks --suite=train
  python -m experiments.benchmarks --suite=estimators
  python -m experiments.benchmarks --suite=moe
  python -m experiments.benchmarks --suite=data
  python -m experiments.benchmarks --suite=scaling
  python -m experiments.benchmarks --suite=memory
  python -m experiments.benchmarks --suite=pid
  python -m experiments.benchmarks --suite=interference
  python -m experiments.benchmarks --suite=study --data_dir=CMU-MOSI

Each figure is the median of several rounds after a warm-up; the two sides take
turns, with a pause before each.
"""

import os
import pathlib

from absl import flags
import jax

from btw_jax.pipeline import files
from btw_jax.reports import tables as tables_lib
from experiments import app
from experiments.benchmarks import data as data_suite
from experiments.benchmarks import estimators as estimators_suite
from experiments.benchmarks import interference as interference_suite
from experiments.benchmarks import memory as memory_suite
from experiments.benchmarks import moe as moe_suite
from experiments.benchmarks import pid as pid_suite
from experiments.benchmarks import scaling as scaling_suite
from experiments.benchmarks import study as study_suite
from experiments.benchmarks import train as train_suite

# name -> what to run
_SUITES = {
  "train": train_suite.run,
  "estimators": estimators_suite.run,
  "moe": moe_suite.run,
  "data": data_suite.run,
  "scaling": scaling_suite.run,
  "memory": memory_suite.run,
  "pid": pid_suite.run,
  "interference": interference_suite.run,
  "study": lambda rounds: study_suite.run(
    rounds, _DATA_DIR.value, _WORKDIR.value
  ),
}

_SUITE = flags.DEFINE_enum("suite", "train", list(_SUITES), "what to measure")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "rounds of each pair", 3)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "folder of CMU-MOSI's npz files (study); left out if empty"
)
_WORKDIR = flags.DEFINE_string(
  "workdir", "", "folder to leave the study in (study); none if empty"
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")


def main() -> None:
  """Runs a suite and prints its table."""
  note = (
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores,"
    f" JAX {jax.__version__}"
  )
  found = {"note": note, "rows": _SUITES[_SUITE.value](_ROUNDS.value)}
  print(tables_lib.measured(found))
  if _OUTPUT.value:
    files.write_json(pathlib.Path(_OUTPUT.value), found)


if __name__ == "__main__":
  app.run(
    main, {"Benchmark": ["suite", "rounds", "data_dir", "workdir", "output"]}
  )
