"""Trains one model per modality, then the weighted multimodal models.

  python -m experiments.train --flagfile=experiments/recipes/digits.flags

Flags after --flagfile override the file, and the file overrides flags before
it. Prints a table of metrics, and leaves metrics, weights, predictions and
checkpoints in the workdir.
"""

from . import app
from . import cluster
from . import flags as flags_lib


def main() -> None:
  """Trains, and prints the results."""
  from btw_jax.pipeline import results_table
  from btw_jax.pipeline import train_run

  cluster.join()
  config = flags_lib.read_config()
  results = train_run.train(config)
  print(results_table.tables(results))
  print(f"\n{config.workdir}: {results['seconds']:.0f} s")


def start() -> None:
  """Defines flags, and runs the program."""
  flags_lib.define()
  app.run(main, flags_lib.groups() | cluster.GROUP)


if __name__ == "__main__":
  start()
