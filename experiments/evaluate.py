"""Evaluates a finished run on a split, or on other files.

  python -m experiments.evaluate --workdir=runs/digits
  python -m experiments.evaluate --workdir=runs/mine --data_dir=elsewhere

Prints the metrics and weights of all models, as training does, and leaves
metrics and predictions in the workdir. Examples are weighed without a history
of weights. The program predict reads examples without labels.
"""

from absl import flags

from . import app
from . import cluster
from . import flags as flags_lib

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_SPLIT, _DATA_DIR = flags_lib.define_split("split to evaluate on")
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "JSON file or folder to write; if empty, the workdir, or with --data_dir a"
  " folder in it that is named after the data",
)


def main() -> None:
  """Loads a run, evaluates it, and prints the results."""
  from btw_jax.pipeline import evaluate_run
  from btw_jax.pipeline import results_table

  cluster.join()
  results, path = evaluate_run.evaluate(
    _WORKDIR.value, _SPLIT.value, _DATA_DIR.value, _OUTPUT.value
  )
  print(results_table.tables(results))
  print(f"\n{path}")


def start() -> None:
  """Defines flags, and runs the program."""
  groups = {"Evaluation": ["workdir", "split", "data_dir", "output"]}
  app.run(main, groups | cluster.GROUP)


if __name__ == "__main__":
  start()
