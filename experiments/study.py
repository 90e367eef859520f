"""Trains data sets x models x mitigations, every weighting, and reports.

  python -m experiments.study --workdir=runs/study \
    --flagfile=experiments/recipes/study_quick.flags

Weightings, strengths and seeds of a data set and model are one program. What is
finished is skipped, a study that was stopped goes on. Flags given here override
those of every recipe. Leaves results.md, results.csv, results.tex, report.html
and a folder per run in the workdir.
"""

import pathlib

from absl import flags
from absl import logging

from btw_jax import errors
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import files
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import interactions
from btw_jax.pipeline import interference
from btw_jax.pipeline import study_grid
from btw_jax.pipeline import train_run
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.reports import page
from btw_jax.reports import recommendation
from btw_jax.reports import results
from btw_jax.reports import study as study_lib
from experiments import app

_RECIPES = flags.DEFINE_list(
  "recipes",
  ["digits"],
  "data sets: recipes in experiments/recipes by name, or flagfiles; those that"
  " read files are left out without --data_dir",
)
_MODELS = flags.DEFINE_list(
  "models", [], f"of every data set: {' | '.join(study_grid.MODELS)}; the recipe's"
  " own if empty",
)  # fmt: skip
config_lib.check_each("models", study_grid.MODELS, optional=True)
_MITIGATIONS = flags.DEFINE_list(
  "mitigations",
  [],
  f"a run each: {study_grid.NONE}, or some of {', '.join(config_lib.MITIGATIONS)}"
  " joined by +; the recipe's own if empty",
)
# name -> what finds it in the models of a run
_FIND = {
  "interference": lambda subject: _interference(subject),
  "interactions": lambda subject: _interactions(subject),
}
_ANALYSES = flags.DEFINE_list(
  "analyses", list(_FIND), f"of the models of every run: {', '.join(_FIND)}"
)
config_lib.check("mitigations", study_grid.check_mitigation)
config_lib.check_each("analyses", list(_FIND), optional=True)


def main() -> None:
  """Trains what is not there, analyses it, reports."""
  cells, left_out = study_grid.cells(
    _RECIPES.value, _MODELS.value, _MITIGATIONS.value, flags.FLAGS
  )
  if not cells:
    raise errors.InputError(
      "--recipes: all of them read files: set --data_dir to theirs."
    )
  for name in left_out:
    logging.warning("%s reads files: left out without --data_dir", name)
  for cell in cells:
    workdir_lib.check_same_config(cell.config)
  interrupt = app.Interrupt()
  for number, cell in enumerate(cells, 1):
    path = pathlib.Path(cell.config.workdir)
    finished = (path / "results.json").exists()
    logging.info(
      "run %d of %d, %s%s",
      number,
      len(cells),
      path.name,
      ": finished" if finished else "",
    )
    if not finished:
      # Of models that these are not.
      files.remove(path / f"{name}.json" for name in _FIND)
      train_run.train(cell.config, interrupt)
    _analyse(path)
  _report(cells, pathlib.Path(flags.FLAGS.workdir))


def _report(cells, workdir):
  """Writes what all runs tell together, and prints it."""
  problems = study_lib.problems(
    study_lib.read([(cell.data, cell.config.workdir) for cell in cells])
  )
  text = results.markdown(problems)
  for name, content in (
    ("results.md", text),
    ("results.csv", results.figures(problems)),
    ("results.tex", results.latex(problems)),
    ("report.html", page.write(problems)),
  ):
    files.write_text(workdir / name, content)
  advice = recommendation.paragraphs(problems)
  overview = results.overview(problems)
  files.write_json(
    workdir / "study.json",
    {"note": "\n\n".join(advice), "tables": {"overview": overview}},
  )
  print(text)
  print(workdir / "report.html")


def _analyse(path):
  """Of a run's models, what is asked for and not there."""
  wanted = {name: path / f"{name}.json" for name in _ANALYSES.value}
  wanted = {k: v for k, v in wanted.items() if not v.exists()}
  if not wanted:
    return
  subject = finished_run.load(path, "test", "")
  for name, file in wanted.items():
    logging.info("%s: %s", path.name, name)
    files.write_json(file, _FIND[name](subject))


def _interference(subject):
  """How often something else in place of a modality flips the decision."""
  options = interference.Options(
    modalities=subject.written.shape.modalities,
    kinds=("noise", "mismatch"),
    divergence="kl",
    num_resamples=100,
    seed=0,
    competence=False,
  )
  models = interference.models([subject])
  return interference.measure(models, options)


def _interactions(subject):
  """What each modality and all others know of the decision."""
  num_modalities = len(subject.written.shape.modalities)
  # Of more than two, those of each against the rest come last.
  pairs = interactions.pairs(num_modalities)[-num_modalities:]
  options = interactions.Options(
    joint="grid",
    num_examples=16,
    num_others=8,
    num_controls=8,
    num_bins=5,
    num_iterations=300,
    seed=0,
  )
  return {"decompositions": interactions.measure(subject, pairs, options)}


if __name__ == "__main__":
  config_lib.define_flags(without=study_grid.REPLACED)
  axes = {"Study": ["recipes", "models", "mitigations", "analyses"]}
  app.run(main, axes | config_lib.groups(study_grid.REPLACED))
