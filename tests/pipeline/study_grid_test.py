"""The runs that a study plans from recipes."""

import pytest

from btw_jax import errors
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import study_grid


def _recipes():
  settings = {"weighting": ("uniform", "gate", "mi", "kl+mi"), "tune": 3}
  settings["balance"] = ("ogm", "mla")
  return {
    name: config_lib.make(dataset=dataset, workdir="made", **settings)
    for name, dataset in (("first", "npz"), ("second", "digits"))
  }


def test_recipes_read_their_own_folders():
  recipes = study_grid.with_folders(_recipes(), ["first=there/it is"])
  assert recipes["first"].data.data_dir == "there/it is"
  assert recipes["second"].data.data_dir == ""
  assert study_grid.with_folders(recipes, []) == recipes
  # A recipe without its folder is left out.
  planned, left_out = study_grid.plan_runs(_recipes(), [], [])
  assert [run.data for run in planned] == ["second"] and left_out == ["first"]


@pytest.mark.parametrize("entry", ["first", "first=", "third=there", "=there"])
def test_an_entry_that_names_no_recipe_and_folder_is_refused(entry):
  with pytest.raises(errors.InputError) as caught:
    study_grid.with_folders(_recipes(), [entry])
  assert str(caught.value) == (
    f"--data_dirs={entry}: give RECIPE=FOLDER, with one of first, second."
  )


def test_min_max_weights_have_a_run_of_the_methods_that_have_them():
  planned, _ = study_grid.plan_runs(_recipes(), [], [], ["rows", "minmax"])
  rows, minmax = (run.config for run in planned)
  assert rows.workdir == "made/runs/second_mlp"
  assert minmax.workdir == "made/runs/second_mlp_minmax"
  assert rows.weighting.names == ("uniform", "gate", "mi", "kl+mi")
  assert rows.balance.methods == ("ogm", "mla")
  assert rows.weighting.refresh_every == 1
  weighting = minmax.weighting
  assert weighting.normalise == "minmax" and weighting.refresh_every == 5
  assert weighting.names == ("uniform", "kl+mi")
  assert minmax.balance.methods == () and minmax.tune == 3


def test_a_recipe_keeps_its_own_normalisation():
  config = config_lib.make(
    weighting=("uniform", "kl"), normalise="minmax", refresh_every=2
  )
  (run,), _ = study_grid.plan_runs({"mine": config}, [], [])
  assert run.config.weighting == config.weighting
  (run,), _ = study_grid.plan_runs({"mine": config}, [], [], ["rows"])
  assert run.config.weighting.normalise == "rows"
