"""Trains one model per modality, then the multimodal model, weighted.

  python -m experiments.train --flagfile=experiments/recipes/digits.flags

Prints a table and leaves its figures, weights, predictions and checkpoints in
the workdir.
"""

from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import results_table
from btw_jax.pipeline import train_run
from experiments import app
from experiments import cluster


def main() -> None:
  """Trains and prints."""
  cluster.join()
  config = config_lib.from_flags()
  results = train_run.train(config)
  print(results_table.tables(results))
  print(f"\n{config.workdir}: {results['seconds']:.0f} s")


if __name__ == "__main__":
  config_lib.define_flags()
  app.run(main, config_lib.groups() | cluster.GROUP)
