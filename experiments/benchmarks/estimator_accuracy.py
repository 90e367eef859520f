"""Compares the estimators on nine tasks whose mutual information is known.

  python -m experiments.benchmarks.estimator_accuracy

The tasks are the one-dimensional ones of Czyż et al. (2023), "Beyond Normal: On
the Evaluation of Mutual Information Estimators", arXiv 2306.11078.
"""

import pathlib

from absl import flags

from experiments import app

_SAMPLES = flags.DEFINE_integer("num_samples", 1284, "samples of each task", 5)
_SEEDS = flags.DEFINE_integer("num_seeds", 10, "sets of samples", 1)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write the table to")


def main() -> None:
  """Prints the mean estimate of every task, and the mean absolute error."""
  # `--help` must not wait for JAX.
  from btw_jax.pipeline import files
  from btw_jax.reports import tables as tables_lib
  from experiments.benchmarks import estimator_errors

  seeds = tables_lib.quantity(_SEEDS.value, "seed")
  table = {
    "note": f"N = {_SAMPLES.value}, mean of {seeds}, nats; MAE: mean absolute"
    " error over tasks and seeds",
    "rows": estimator_errors.rows(_SAMPLES.value, _SEEDS.value),
  }
  print(tables_lib.with_note(table))
  if _OUTPUT.value:
    files.write_json(pathlib.Path(_OUTPUT.value), table)


if __name__ == "__main__":
  app.run(main, {"Estimators": ["num_samples", "num_seeds", "output"]})
