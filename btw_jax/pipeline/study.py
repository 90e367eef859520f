"""A study: its runs trained, analysed and reported together."""

from collections.abc import Sequence
import pathlib

from absl import logging

from btw_jax.pipeline import config_sections as sections
from btw_jax.pipeline import contribution
from btw_jax.pipeline import files
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import interactions
from btw_jax.pipeline import interference
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import progress
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import study_grid
from btw_jax.pipeline import train_run
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.reports import across
from btw_jax.reports import overall
from btw_jax.reports import page
from btw_jax.reports import recommendation
from btw_jax.reports import results
from btw_jax.reports import study as study_lib


def run(
  planned: Sequence[study_grid.PlannedRun],
  workdir: str,
  analyses: Sequence[str] = sections.ANALYSES,
) -> str:
  """Trains the runs that are not finished, analyses them and reports.

  Returns the report as Markdown; its files are in the workdir.
  """
  for one_run in planned:
    saved_config.check_same_config(one_run.config)
  interrupt = interrupt_lib.Interrupt()
  for number, one_run in enumerate(planned, 1):
    path = pathlib.Path(one_run.config.workdir)
    config = one_run.config
    is_finished = config.resume and workdir_lib.is_finished(config)
    logging.info(
      "run %d of %d, %s%s",
      number,
      len(planned),
      path.name,
      ": finished" if is_finished else "",
    )
    if not is_finished:
      # Analyses of earlier models are not those of the models to come.
      files.remove(path / f"{name}.json" for name in ANALYSIS_FUNCTIONS)
      train_run.train(one_run.config, interrupt)
    _analyse(path, analyses)
  return _report(planned, pathlib.Path(workdir))


def _report(planned, workdir):
  """Writes the report of all runs, and returns it as Markdown."""
  problems = study_lib.problems(
    study_lib.read([(run.data, run.config.workdir) for run in planned])
  )
  text = results.markdown(problems)
  for name, content in (
    ("results.md", text),
    ("results.csv", results.to_csv(problems)),
    ("results.tex", results.latex(problems)),
    ("report.html", page.write(problems)),
  ):
    files.write_text(workdir / name, content)
  advice = overall.paragraphs(problems) + recommendation.paragraphs(problems)
  named = {"overview": results.overview(problems), **across.write(problems)}
  files.write_json(
    workdir / "study.json", {"note": "\n\n".join(advice), "tables": named}
  )
  return text


def _analyse(path, analyses):
  """Runs the analyses of a run that have no file yet."""
  missing = {name: path / f"{name}.json" for name in analyses}
  missing = {k: v for k, v in missing.items() if not v.exists()}
  if not missing:
    return
  run = finished_run.load(path, "test")
  for name, file in missing.items():
    with progress.doing(f"{path.name}: {name}"):
      files.write_json(file, ANALYSIS_FUNCTIONS[name](run))


def _interference(run):
  """Measures how often noise or a mismatch in a modality flips decisions."""
  options = interference.Options(
    modalities=run.modalities,
    kinds=("noise", "mismatch"),
    divergence="kl",
    num_resamples=100,
    seed=0,
    competence=False,
  )
  return interference.measure(interference.list_models([run]), options)


def _interactions(run):
  """Decomposes decisions between each modality and all others."""
  num_modalities = len(run.modalities)
  # The pairs of a modality and all others come last.
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
  return {"decompositions": interactions.measure(run, pairs, options)}


def _contribution(run):
  """Measures what each modality contributes to uniform, and to the gate.

  In a run with balancing methods or min-max weights, it measures all models
  that differ.
  """
  options = contribution.Options(num_examples=500)
  return contribution.measure(run, _contributing(run), options)


def _contributing(run):
  """Returns the names of the models whose contributions are measured."""
  names = [w for w in ("uniform", "gate") if w in run.weightings]
  # A run of an earlier version may have no choices.
  if run.models.choices is None:
    return names
  choices = {
    name: run.models.choices.weightings[name]["choice"]
    for name in run.weightings
  }
  is_balanced = any("balance" in choice for choice in choices.values())
  if is_balanced or run.saved.config.weighting.normalise == "minmax":
    names = run.weightings
  different = []
  for name in names:
    if choices[name] not in (choices[other] for other in different):
      different.append(name)
  return different


ANALYSIS_FUNCTIONS = {
  "contribution": _contribution,
  "interference": _interference,
  "interactions": _interactions,
}
