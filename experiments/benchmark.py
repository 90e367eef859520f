"""Measures speed as ratios of two things run side by side in one process.

  python -m experiments.benchmark --suite=train
  python -m experiments.benchmark --suite=estimators
  python -m experiments.benchmark --suite=moe
  python -m experiments.benchmark --suite=data
  python -m experiments.benchmark --suite=scaling
  python -m experiments.benchmark --suite=memory
  python -m experiments.benchmark --suite=pid
  python -m experiments.benchmark --suite=interference
  python -m experiments.benchmark --suite=study --data_dir=CMU-MOSI

Each figure is the median of several rounds after a warm-up; the two sides take
turns, with a pause before each.
"""

import os
import pathlib

from absl import flags
import jax

from btw_jax.reports import tables as tables_lib
from btw_jax.training import metrics_writer
from experiments import benchmark_data
from experiments import benchmark_estimators
from experiments import benchmark_interference
from experiments import benchmark_memory
from experiments import benchmark_moe
from experiments import benchmark_pid
from experiments import benchmark_scaling
from experiments import benchmark_study
from experiments import benchmark_train
from experiments import cli

# name -> what to run
_SUITES = {
  "train": benchmark_train.run,
  "estimators": benchmark_estimators.run,
  "moe": benchmark_moe.run,
  "data": benchmark_data.run,
  "scaling": benchmark_scaling.run,
  "memory": benchmark_memory.run,
  "pid": benchmark_pid.run,
  "interference": benchmark_interference.run,
  "study": lambda rounds: benchmark_study.run(
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
    metrics_writer.write_json(pathlib.Path(_OUTPUT.value), found)


if __name__ == "__main__":
  cli.run(
    main, {"Benchmark": ["suite", "rounds", "data_dir", "workdir", "output"]}
  )
