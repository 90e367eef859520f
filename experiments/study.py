r"""Trains data sets x models x mitigations with every weighting, and reports.

  python -m experiments.study --dataset=npz --data_dir=mine --num_seeds=10 \
    --weighting=uniform,gate,auto --workdir=runs/study
  python -m experiments.study --flagfile=experiments/recipes/study_quick.flags

Weightings, strengths and seeds of a data set and model are one program. Runs
that are finished are skipped, and a study that was stopped goes on. Flags given
here override those of every recipe; flags after --flagfile override that file.
So --balance=ogm,mla adds methods that balance modalities to every run, and
--tune=4 lets every method choose its own setting from four.
The workdir then holds results.md, results.csv, results.tex, report.html and a
folder per run.
"""

import pathlib

from absl import flags
from absl import logging

from btw_jax import errors
from btw_jax.pipeline import config_sections as sections
from btw_jax.pipeline import study_grid

from . import app
from . import flags as flags_lib

_RECIPES = flags.DEFINE_list(
  "recipes",
  [],
  "data sets: recipes by name, or flagfiles; those that read files are left out"
  " without --data_dir; --dataset alone if empty; other flags, such as --tune"
  " and --balance, override those of every recipe",
)
_MODELS = flags.DEFINE_list(
  "models",
  [],
  f"models for every data set: {' | '.join(sections.MODELS)}; the recipe's"
  " own if empty",
)
_MITIGATIONS = flags.DEFINE_list(
  "mitigations",
  [],
  "mitigations, separated by commas, a run for each:"
  f" {study_grid.NO_MITIGATION} | {' | '.join(sections.MITIGATIONS)}; join"
  " methods of one run by +: none,heuristic+consistency makes two runs; the"
  " recipe's own if empty",
)
_DATA_DIRS = flags.DEFINE_list(
  "data_dirs",
  [],
  "folders of the recipes that read files, as RECIPE=FOLDER, separated by"
  " commas; --data_dir is that of all others",
)
_NORMALISATIONS = flags.DEFINE_list(
  "normalisations",
  [],
  "normalisations of the weights by KL, a run for each:"
  f" {' | '.join(sections.NORMALISATIONS)} (as in the public code of BTW); the"
  " recipe's own if empty",
)
_ANALYSES = flags.DEFINE_list(
  "analyses",
  list(sections.ANALYSES),
  f"analyses of the models of every run: {', '.join(sections.ANALYSES)}",
)
flags_lib.check_each("models", sections.MODELS, optional=True)
flags_lib.check("mitigations", study_grid.check_mitigation)
flags_lib.check_each("normalisations", sections.NORMALISATIONS, optional=True)
flags_lib.check_each("analyses", sections.ANALYSES, optional=True)


def main() -> None:
  """Trains the missing runs, analyses them and prints the report."""
  recipes = {flags.FLAGS.dataset: flags_lib.read_config()}
  if flags.FLAGS["recipes"].present:
    recipes = flags_lib.read_recipes(
      _RECIPES.value, without=study_grid.REPLACED
    )
  recipes = study_grid.with_folders(recipes, _DATA_DIRS.value)
  planned, left_out = study_grid.plan_runs(
    recipes, _MODELS.value, _MITIGATIONS.value, _NORMALISATIONS.value
  )
  if not planned:
    raise errors.InputError(
      f"--data_dir is needed: {' and '.join(left_out)} read files."
    )
  for name in left_out:
    logging.warning("%s reads files: left out without --data_dir", name)
  from btw_jax.pipeline import study

  workdir = flags.FLAGS.workdir
  print(study.run(planned, workdir, _ANALYSES.value))
  print(pathlib.Path(workdir, "report.html"))


def start() -> None:
  """Defines flags, and runs the program."""
  flags_lib.define(without=study_grid.REPLACED)
  axes = {
    "Study": [
      "recipes",
      "data_dirs",
      "models",
      "mitigations",
      "normalisations",
      "analyses",
    ]
  }
  app.run(main, axes | flags_lib.groups(study_grid.REPLACED))


if __name__ == "__main__":
  start()
