"""The runs of a study: data sets x models x mitigations.

Weightings, strengths and seeds are axes of a run's own program.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import pathlib

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections as sections

NO_MITIGATION = "none"
# The settings of a run that the axes of a study replace.
REPLACED = ("model", "mitigation")
# The weighting that all others are compared with.
_BASE = "uniform"


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One run of a study.

  Attributes:
    data: name of the recipe.
    config: the run, with a workdir of its own.
  """

  data: str
  config: config_lib.RunConfig


def plan_runs(
  recipes: Mapping[str, config_lib.RunConfig],
  models: Sequence[str],
  mitigations: Sequence[str],
) -> tuple[list[PlannedRun], list[str]]:
  """Plans all runs of a study.

  Args:
    recipes: name -> configuration; its workdir is that of the study.
    models: for every data set; the recipe's own if empty.
    mitigations: "none", or methods joined by "+"; the recipe's own if empty.

  Returns:
    The runs, and the names of recipes left out because their files are not
    given.

  Raises:
    InputError: if a recipe does not train the base weighting.
  """
  planned, left_out = [], []
  for recipe, config in recipes.items():
    if catalog.find(config.data.dataset).reads and not config.data.data_dir:
      left_out.append(recipe)
      continue
    for model, methods in itertools.product(
      dict.fromkeys(models or [config.model.kind]),
      dict.fromkeys(map(split_methods, mitigations))
      or [config.mitigation.methods],
    ):
      name = "_".join([recipe, model, *methods])
      run_config = config_lib.replace(
        config,
        model=model,
        mitigation=methods,
        workdir=str(pathlib.Path(config.workdir, "runs", name)),
      )
      planned.append(PlannedRun(recipe, run_config))
  for run in planned:
    names = run.config.weighting.names
    if _BASE not in names:
      raise errors.InputError(
        f"--weighting={','.join(names)}: has no {_BASE} to compare with: add"
        " it."
      )
  return planned, left_out


def split_methods(mitigation: str) -> tuple[str, ...]:
  """Splits "none", or methods joined by "+"."""
  methods = tuple(mitigation.split("+"))
  return () if methods == (NO_MITIGATION,) else methods


def check_mitigation(mitigation: str) -> None:
  """Checks "none", or methods joined by "+".

  Raises:
    InputError: if a method is unknown.
  """
  wrong = set(split_methods(mitigation)) - set(sections.MITIGATIONS)
  if wrong:
    raise errors.InputError(
      f"{min(wrong)!r} is unknown: use {NO_MITIGATION}, or some of"
      f" {', '.join(sections.MITIGATIONS)} joined by +"
    )
