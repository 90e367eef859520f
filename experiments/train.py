"""Trains one model per modality, then the multimodal model, weighted.

  python -m experiments.train --flagfile=experiments/recipes/digits.flags

Prints a table and leaves its figures, weights, predictions and checkpoints in
the workdir.
"""

from experiments import cli
from experiments import cluster
from experiments import config as config_lib
from experiments import report
from experiments import running


def main() -> None:
  """Trains and prints."""
  cluster.join()
  config = config_lib.from_flags()
  results = running.train(config)
  print(report.tables(results))
  print(f"\n{config.workdir}: {results['seconds']:.0f} s")


if __name__ == "__main__":
  config_lib.define_flags()
  cli.run(main, config_lib.groups() | cluster.GROUP)
