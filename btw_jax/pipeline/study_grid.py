"""What a study trains: data sets x models x mitigations, a run each.

Weightings, strengths and seeds are axes of a run's own program.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import pathlib

from absl import flags

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.pipeline import config as config_lib
from btw_jax.reports import study as study_lib

MODELS = ("mlp", "moe")
NONE = "none"
# What the axes of a study say in place of flags of a run.
REPLACED = ("model", "mitigation")
_RECIPES = pathlib.Path(__file__).parents[2] / "experiments/recipes"


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One run of a study.

  Attributes:
    data: name of the recipe.
    config: the run; its workdir is the cell's own.
  """

  data: str
  config: config_lib.Config


def cells(
  recipes: Sequence[str],
  models: Sequence[str],
  mitigations: Sequence[str],
  given: flags.FlagValues,
) -> tuple[list[PlannedRun], list[str]]:
  """All runs of a study.

  Args:
    recipes: names in `recipes/`, or paths of flagfiles.
    models: of every data set; the recipe's own if empty.
    mitigations: "none", or methods joined by "+"; the recipe's own if empty.
    given: flags of the study; those that were set override every recipe.

  Returns:
    The runs, and the names of recipes left out because --data_dir is not set.

  Raises:
    InputError: if a recipe, or a flag in it, is unknown.
  """
  found, left_out = [], []
  for recipe in dict.fromkeys(recipes):
    path = _find(recipe)
    config = _read(path, given)
    source = catalog.find(config.dataset)
    if source.reads and not config.data_dir:
      left_out.append(path.stem)
      continue
    for model, mitigation in itertools.product(
      dict.fromkeys(models or [config.model]),
      dict.fromkeys(map(_methods, mitigations)) or [config.mitigation],
    ):
      name = "_".join([path.stem, model, *mitigation])
      own = dataclasses.replace(
        config,
        model=model,
        mitigation=mitigation,
        workdir=str(pathlib.Path(config.workdir, "runs", name)),
      )
      found.append(PlannedRun(path.stem, own))
  _refuse_two(found)
  for cell in found:
    if study_lib.BASE not in cell.config.weighting:
      raise errors.InputError(
        f"--weighting={','.join(cell.config.weighting)}: has no"
        f" {study_lib.BASE} to compare with: add it."
      )
  return found, left_out


def _find(recipe):
  for path in (_RECIPES / f"{recipe}.flags", pathlib.Path(recipe)):
    if path.is_file():
      return path
  known = sorted(p.stem for p in _RECIPES.glob("*.flags"))
  raise errors.InputError(
    f"--recipes={recipe}: neither a file nor one of {', '.join(known)}."
  )


def _read(path, given):
  """A recipe's configuration, with the flags of the study on top."""
  values = flags.FlagValues()
  config_lib.define_flags(values)
  own = [f"--flagfile={path}"]
  try:
    values([__name__, *own])
    reads = catalog.find(values["dataset"].value).reads
    on_top = [
      given[name].serialize()
      for name in values
      if name in given
      and given[name].present
      and name not in REPLACED
      # Of the data sets that read nothing there is nothing to tell.
      and (reads or name != "data_dir")
    ]
    values.unparse_flags()
    values([__name__, *own, *on_top])
  except flags.Error as error:
    raise errors.InputError(f"{path}: {error}") from error
  return config_lib.from_flags(values)


def _methods(mitigation):
  methods = tuple(mitigation.split("+"))
  return () if methods == (NONE,) else methods


def check_mitigation(mitigation: str) -> None:
  """Refuses a value of --mitigations that is none.

  Args:
    mitigation: "none", or methods joined by "+".

  Raises:
    InputError: if a method is unknown.
  """
  wrong = set(_methods(mitigation)) - set(config_lib.MITIGATIONS)
  if wrong:
    raise errors.InputError(
      f"{min(wrong)!r} is unknown: use {NONE}, or some of"
      f" {', '.join(config_lib.MITIGATIONS)} joined by +"
    )


def _refuse_two(cells):
  """Two flagfiles of one name would share a folder."""
  workdirs = [cell.config.workdir for cell in cells]
  twice = [cell for cell in cells if workdirs.count(cell.config.workdir) > 1]
  if twice:
    raise errors.InputError(
      f"--recipes: two flagfiles are called {twice[0].data}: rename one."
    )
