"""The runs of a study: data sets x models x mitigations x normalisations.

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
REPLACED = ("model", "mitigation", "normalise")
# The weighting that all others are compared with.
_BASE = "uniform"
# The weightings that min-max weights exist for, and how often the public code
# refreshes them.
_WITH_KL = ("kl", "kl+mi", "kl+cc")
_REFRESH_EVERY = 5


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One run of a study.

  Attributes:
    data: name of the recipe.
    config: the run, with a workdir of its own.
  """

  data: str
  config: config_lib.RunConfig


def with_folders(
  recipes: Mapping[str, config_lib.RunConfig], folders: Sequence[str]
) -> dict[str, config_lib.RunConfig]:
  """Gives recipes their folders of files, written as "RECIPE=FOLDER".

  Raises:
    InputError: if an entry has no "=", or names no recipe.
  """
  changed = dict(recipes)
  for entry in folders:
    recipe, _, folder = entry.partition("=")
    if recipe not in recipes or not folder:
      raise errors.InputError(
        f"--data_dirs={entry}: give RECIPE=FOLDER, with one of"
        f" {', '.join(recipes)}."
      )
    changed[recipe] = config_lib.replace(recipes[recipe], data_dir=folder)
  return changed


def plan_runs(
  recipes: Mapping[str, config_lib.RunConfig],
  models: Sequence[str],
  mitigations: Sequence[str],
  normalisations: Sequence[str] = (),
) -> tuple[list[PlannedRun], list[str]]:
  """Plans all runs of a study.

  Args:
    recipes: name -> configuration; its workdir is that of the study.
    models: for every data set; the recipe's own if empty.
    mitigations: "none", or methods joined by "+"; the recipe's own if empty.
    normalisations: of the weights by KL, "rows" or "minmax"; the recipe's own
      if empty. Those by "minmax" are refreshed every five epochs, as in the
      public code, and train no other method than uniform.

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
    for model, methods, normalise in itertools.product(
      dict.fromkeys(models or [config.model.kind]),
      dict.fromkeys(map(split_methods, mitigations))
      or [config.mitigation.methods],
      dict.fromkeys(normalisations or [config.weighting.normalise]),
    ):
      parts = [recipe, model, *methods, *[normalise] * (normalise != "rows")]
      run_config = config_lib.replace(
        config,
        model=model,
        mitigation=methods,
        workdir=str(pathlib.Path(config.workdir, "runs", "_".join(parts))),
        **_normalised(config, normalise),
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


def _normalised(config, normalise):
  """Returns the settings of a run whose weights are normalised in one way."""
  weighting = config.weighting
  if normalise == weighting.normalise:
    return {}
  if normalise == "rows":
    return {"normalise": normalise}
  kept = [name for name in weighting.names if name in _WITH_KL]
  return {
    "normalise": normalise,
    "refresh_every": _REFRESH_EVERY,
    "weighting": (_BASE, *kept),
    "balance": (),
  }


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
