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

from btw_jax import types
from btw_jax.reports import page
from btw_jax.reports import recommendation
from btw_jax.reports import results
from btw_jax.reports import study as study_lib
from btw_jax.training import metrics_writer
from experiments import cli
from experiments import config as config_lib
from experiments import grid
from experiments import interactions
from experiments import interference
from experiments import running
from experiments import subject as subject_lib
from experiments import workdir as workdir_lib

_RECIPES = flags.DEFINE_list(
  "recipes",
  ["digits"],
  "data sets: recipes in experiments/recipes by name, or flagfiles; those that"
  " read files are left out without --data_dir",
)
_MODELS = flags.DEFINE_list(
  "models", [], f"of every data set: {' | '.join(grid.MODELS)}; the recipe's"
  " own if empty",
)  # fmt: skip
config_lib.check_each("models", grid.MODELS, optional=True)
_MITIGATIONS = flags.DEFINE_list(
  "mitigations",
  [],
  f"a run each: {grid.NONE}, or some of {', '.join(config_lib.MITIGATIONS)}"
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
config_lib.check("mitigations", grid.check_mitigation)
config_lib.check_each("analyses", list(_FIND), optional=True)


def main() -> None:
  """Trains what is not there, analyses it, reports."""
  cells, left_out = grid.cells(
    _RECIPES.value, _MODELS.value, _MITIGATIONS.value, flags.FLAGS
  )
  if not cells:
    raise types.InputError(
      "--recipes: all of them read files: set --data_dir to theirs."
    )
  for name in left_out:
    logging.warning("%s reads files: left out without --data_dir", name)
  for cell in cells:
    workdir_lib.refuse_another(cell.config)
  interrupt = cli.Interrupt()
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
      metrics_writer.remove(path / f"{name}.json" for name in _FIND)
      running.train(cell.config, interrupt)
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
    metrics_writer.write_text(workdir / name, content)
  advice = recommendation.paragraphs(problems)
  overview = results.overview(problems)
  metrics_writer.write_json(
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
  subject = subject_lib.load(path, "test", "")
  for name, file in wanted.items():
    logging.info("%s: %s", path.name, name)
    metrics_writer.write_json(file, _FIND[name](subject))


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
  config_lib.define_flags(without=grid.REPLACED)
  axes = {"Study": ["recipes", "models", "mitigations", "analyses"]}
  cli.run(main, axes | config_lib.groups(grid.REPLACED))
