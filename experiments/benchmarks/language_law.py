"""Measures whether synergy goes with the accuracy that is lost without vision.

  python -m experiments.benchmarks.language_law --workdir=runs/law

Trains language models of four sizes, five seeds each, on questions about images
and text. Prints Spearman's correlation over models and tasks, with intervals
from a bootstrap over models.
"""

import pathlib

from absl import flags

from experiments import app

_WORKDIR = flags.DEFINE_string("workdir", "runs/law", "folder of the runs")
_SIZES = flags.DEFINE_list(
  "sizes", ["16", "24", "32", "48"], "values of --embedding_dim"
)
_SEEDS = flags.DEFINE_integer("num_seeds", 5, "models of each size", 1)
_EPOCHS = flags.DEFINE_integer("num_epochs", 8, "number of epochs", 1)
_TRAIN = flags.DEFINE_integer("num_train", 20_000, "training questions", 100)
_QUESTIONS = flags.DEFINE_integer(
  "num_questions", 1600, "test questions, of all tasks", 100
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write the table to")


def main() -> None:
  """Trains, measures and prints."""
  # `--help` must not wait for JAX.
  from btw_jax.pipeline import files
  from btw_jax.pipeline.language import config as config_lib
  from btw_jax.pipeline.language import law
  from btw_jax.pipeline.language import run
  from btw_jax.reports import tables as tables_lib

  parts = []
  for number, size in enumerate(map(int, _SIZES.value)):
    workdir = pathlib.Path(_WORKDIR.value, f"size_{size}")
    run.train(
      config_lib.LanguageConfig(
        workdir=str(workdir),
        audio="none",
        embedding_dim=size,
        hidden_dim=3 * size,
        num_heads=2,
        optimizer="muon",
        num_seeds=_SEEDS.value,
        num_epochs=_EPOCHS.value,
        num_train=_TRAIN.value,
      )
    )
    finished = run.load(workdir)
    parts.append(
      law.measure(
        finished,
        finished.setup.questions("test", _QUESTIONS.value),
        finished.setup.questions("valid"),
        first_model=number * _SEEDS.value,
      )
    )
  points = law.concatenate(parts)
  table = {
    "note": (
      f"{len(set(points.model))} models: sizes {', '.join(_SIZES.value)},"
      f" {_SEEDS.value} seeds each; 95 % intervals over models"
    ),
    "rows": law.table(points),
  }
  print(tables_lib.with_note(table))
  if _OUTPUT.value:
    files.write_json(_OUTPUT.value, table)


if __name__ == "__main__":
  names = ["workdir", "sizes", "num_seeds", "num_epochs", "num_train"]
  app.run(main, {"Law": [*names, "num_questions", "output"]})
