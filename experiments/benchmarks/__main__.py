"""Measures speed and memory: two sides in turns, and the ratio of the two.

  python -m experiments.benchmarks --suite=train
  python -m experiments.benchmarks --suite=step_parts
  python -m experiments.benchmarks --suite=estimators
  python -m experiments.benchmarks --suite=moe
  python -m experiments.benchmarks --suite=moe_limit
  python -m experiments.benchmarks --suite=data
  python -m experiments.benchmarks --suite=scaling
  python -m experiments.benchmarks --suite=memory
  python -m experiments.benchmarks --suite=turns
  python -m experiments.benchmarks --suite=pid
  python -m experiments.benchmarks --suite=interference
  python -m experiments.benchmarks --suite=balance
  python -m experiments.benchmarks --suite=gate --rounds=3
  python -m experiments.benchmarks --suite=interface
  python -m experiments.benchmarks --suite=audit
  python -m experiments.benchmarks --suite=language
  python -m experiments.benchmarks --suite=pretrained
  python -m experiments.benchmarks --suite=parity
  python -m experiments.benchmarks --suite=compiling
  python -m experiments.benchmarks --suite=study --data_dir=CMU-MOSI

The two sides run in turns in one process, with a pause before each turn. Each
figure is the median of several rounds, after one round of warm-up. The suites
scaling, memory, interface, audit, compiling and study measure whole processes
instead.
"""

import importlib
import os
import pathlib

from absl import flags

from experiments import app

# suite -> module with a function `run`; only the chosen one is imported
_SUITES = {
  "train": "experiments.benchmarks.train",
  "step_parts": "experiments.benchmarks.step_parts",
  "estimators": "experiments.benchmarks.estimators",
  "moe": "experiments.benchmarks.moe",
  "moe_limit": "experiments.benchmarks.moe_limit",
  "data": "experiments.benchmarks.data",
  "scaling": "experiments.benchmarks.scaling",
  "memory": "experiments.benchmarks.memory",
  "turns": "experiments.benchmarks.turns",
  "pid": "experiments.benchmarks.pid",
  "interference": "experiments.benchmarks.interference",
  "balance": "experiments.benchmarks.balance",
  "gate": "experiments.benchmarks.gate_cost",
  "interface": "experiments.benchmarks.interface",
  "audit": "experiments.benchmarks.audit",
  "language": "experiments.benchmarks.language",
  "pretrained": "experiments.benchmarks.pretrained",
  "parity": "experiments.benchmarks.parity",
  "compiling": "experiments.benchmarks.compiling",
  "study": "experiments.benchmarks.study",
}

_SUITE = flags.DEFINE_enum("suite", "train", list(_SUITES), "suite to run")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "rounds of each comparison", 3)
_DATA_DIR = flags.DEFINE_string(
  "data_dir",
  "",
  "study only: folder with the npz files of CMU-MOSI; without it the study"
  " leaves CMU-MOSI out",
)
_WORKDIR = flags.DEFINE_string(
  "workdir", "", "study only: folder that keeps the study; deleted if empty"
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write the table to")


def main() -> None:
  """Runs a suite, prints its table and writes it as JSON if asked to."""
  # `--help` must not wait for JAX.
  import jax

  from btw_jax.pipeline import files
  from btw_jax.reports import tables as tables_lib

  note = (
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores,"
    f" JAX {jax.__version__}"
  )
  suite = importlib.import_module(_SUITES[_SUITE.value])
  options = {}
  if _SUITE.value == "study":
    options = {"data_dir": _DATA_DIR.value, "workdir": _WORKDIR.value}
  table = {"note": note, "rows": suite.run(_ROUNDS.value, **options)}
  print(tables_lib.with_note(table))
  if _OUTPUT.value:
    files.write_json(pathlib.Path(_OUTPUT.value), table)


if __name__ == "__main__":
  app.run(
    main, {"Benchmark": ["suite", "rounds", "data_dir", "workdir", "output"]}
  )
