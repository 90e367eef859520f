"""Evaluates a finished run on a split, or on other files.

  python -m experiments.evaluate --workdir=runs/digits
  python -m experiments.evaluate --workdir=runs/mine --data_dir=elsewhere

Prints the metrics and weights of all models, as training does, and leaves
metrics and predictions in the workdir. Examples are weighed without a history
of weights.
"""

from absl import flags

from experiments import app
from experiments import cluster
from experiments import flags as flags_lib

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_SPLIT, _DATA_DIR = flags_lib.define_split("split to evaluate on")


def main() -> None:
  """Loads a run, evaluates it, and prints the results."""
  from btw_jax.pipeline import evaluate_run
  from btw_jax.pipeline import results_table

  cluster.join()
  results, path = evaluate_run.evaluate(
    _WORKDIR.value, _SPLIT.value, _DATA_DIR.value
  )
  print(results_table.tables(results))
  print(f"\n{path}")


if __name__ == "__main__":
  groups = {"Evaluation": ["workdir", "split", "data_dir"]}
  app.run(main, groups | cluster.GROUP)
