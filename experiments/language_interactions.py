"""Decomposes what image, sound and text tell about a language model's answers.

  python -m experiments.language_interactions --workdir=runs/questions

Partial Information Decomposition of every task, in bits: redundant (R), unique
(U1, U2) and synergistic (S) information of two sources, beside the truth of an
answerer that is always right. It is measured in a grid, where every image or
sound meets every text, by masking the embeddings of one source, and after every
layer. Prints tables, and leaves language_interactions.json, two pictures, and
the answers as experiments.audit reads them (answers_TASK.npz) in the workdir.
"""

import dataclasses
import pathlib

from absl import flags

from . import app

_WORKDIR = flags.DEFINE_string(
  "workdir", "runs/questions", "folder of a run of the language model"
)
_NUM_VALUES = flags.DEFINE_integer(
  "num_values", 40, "number of values of each source that meet in a grid", 20
)
_NUM_QUESTIONS = flags.DEFINE_integer(
  "num_questions", 6000, "number of test questions to answer with masks", 240
)
_NUM_RESAMPLES = flags.DEFINE_integer(
  "num_resamples", 1000, "resamples of the bootstrap intervals of grids", 100
)
_SEED = flags.DEFINE_integer("seed", 0, "seed of all random numbers", 0)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "JSON file to write; language_interactions.json in the workdir if empty",
)


def main() -> None:
  """Decomposes, prints, writes and draws."""
  from btw_jax.pipeline import files
  from btw_jax.pipeline import progress
  from btw_jax.pipeline.language import interactions
  from btw_jax.pipeline.language import interactions_plots
  from btw_jax.pipeline.language import interactions_tables
  from btw_jax.pipeline.language import run as run_lib
  from btw_jax.reports import tables as tables_lib

  run = run_lib.load(_WORKDIR.value)
  options = interactions.Options(
    _NUM_VALUES.value,
    _NUM_QUESTIONS.value,
    _NUM_RESAMPLES.value,
    _SEED.value,
  )
  with progress.doing("decomposing decisions"):
    measured = interactions.measure(run, options)
  num_seeds = tables_lib.quantity(len(run.setup.config.seeds), "seed")
  note = (
    f"Bits of information about the answer: mean over {num_seeds}, with 95 %"
    " bootstrap intervals. Layer 0 is the embedding; where the options of a"
    " question hold less than 30 % of the probability, they count as equally"
    " likely. With the text masked, a model does not know what is asked."
  )
  tables = interactions_tables.tables(measured)
  output = pathlib.Path(
    _OUTPUT.value or pathlib.Path(_WORKDIR.value, "language_interactions.json")
  )
  content = {
    "note": note,
    "tables": tables,
    "options": dataclasses.asdict(options),
    "decompositions": interactions_tables.to_json(measured),
  }
  files.write_json(output, content)
  paths = [output, output.with_name("language_tasks.png")]
  interactions_plots.tasks(interactions_tables.bars(measured), paths[-1])
  if measured.grid:
    paths.append(output.with_name("language_layers.png"))
    interactions_plots.layers(interactions_tables.profiles(measured), paths[-1])
  for name, arrays in measured.answers.items():
    paths.append(output.with_name(f"answers_{name}.npz"))
    files.write_arrays(paths[-1], arrays)
  for name, rows in tables.items():
    print(f"{name}\n\n{tables_lib.markdown(rows)}\n")
  print(note, "", *paths, sep="\n")


def start() -> None:
  """Defines flags, and runs the program."""
  names = ["workdir", "num_values", "num_questions", "num_resamples", "seed",
           "output"]  # fmt: skip
  app.run(main, {"Interactions": names})


if __name__ == "__main__":
  start()
