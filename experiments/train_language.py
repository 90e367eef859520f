"""Trains a small multimodal language model on a world of questions.

  python -m experiments.train_language --flagfile=questions

The model answers questions about an image of a digit, a sound, and the text
itself. Prints the accuracy on each task of the test split, and leaves metrics,
checkpoints and results in the workdir.
"""

import dataclasses

from btw_jax.pipeline.language import config as config_lib

from . import app
from . import cluster
from . import flags as flags_lib


def main() -> None:
  """Trains, and prints the accuracies."""
  from btw_jax.pipeline.language import run
  from btw_jax.reports import tables as tables_lib

  cluster.join()
  config = flags_lib.read_fields(config_lib.LanguageConfig)
  results = run.train(config)
  print(tables_lib.with_note(results))
  print(f"\n{config.workdir}: {results['seconds']:.0f} s")


def start() -> None:
  """Defines flags, and runs the program."""
  flags_lib.define_fields(dataclasses.fields(config_lib.LanguageConfig))
  app.run(main, config_lib.groups() | cluster.GROUP)


if __name__ == "__main__":
  start()
