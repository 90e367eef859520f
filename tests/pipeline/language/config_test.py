import dataclasses
import json

import pytest

from btw_jax import errors
from btw_jax.data.questions import tasks
from btw_jax.methods.balance import catalog
from btw_jax.pipeline.language import config as config_lib


def test_the_names_are_those_of_the_world():
  sounds = {name for name, task in tasks.TASKS.items() if task.has_audio}
  assert set(config_lib.SOUND_TASKS) == sounds
  assert set(config_lib.TASKS) == set(tasks.TASKS)


def test_the_balancing_methods_need_no_other_models():
  for name in config_lib.BALANCES:
    entry = catalog.METHODS[name]
    assert not entry.has_teacher
    assert not entry.has_network


def test_every_setting_is_in_one_group_of_the_help():
  names = [name for names in config_lib.groups().values() for name in names]
  fields = [f.name for f in dataclasses.fields(config_lib.LanguageConfig)]
  assert sorted(names) == sorted(fields)
  assert "" not in config_lib.groups()


def test_json_keeps_a_configuration():
  config = config_lib.LanguageConfig(
    tasks=("shown", "add"), audio="none", learning_rate=0.1
  )
  text = json.dumps(config_lib.to_dict(config))
  assert config_lib.from_dict(json.loads(text)) == config
  with pytest.raises(errors.InputError, match="'depth' is not a setting"):
    config_lib.from_dict({"depth": 3})


def test_a_run_may_change_only_what_is_free():
  config = config_lib.LanguageConfig()
  free = dataclasses.replace(config, workdir="other", snapshot_seconds=1)
  assert config_lib.differing(config, free) == []
  other = dataclasses.replace(config, num_layers=3, seed=1)
  assert config_lib.differing(config, other) == ["seed", "num_layers"]


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"num_heads": 3}, "--num_heads=3: does not divide --embedding_dim=64"),
    ({"num_kv_heads": 3}, "--num_kv_heads=3: does not divide --num_heads=4"),
    ({"embedding_dim": 12}, "an even number of units per head"),
    ({"audio": "none", "tasks": ("add", "same")}, "--tasks=same: needs sounds"),
    ({"audio": "spoken"}, "--audio=spoken: set --data_dir"),
  ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
  with pytest.raises(errors.InputError, match=message):
    config_lib.LanguageConfig(**settings)


def test_the_world_without_sounds_has_no_task_about_them():
  silent = config_lib.LanguageConfig(audio="none")
  assert silent.chosen_tasks == config_lib.PICTURE_TASKS
  assert config_lib.LanguageConfig().chosen_tasks == config_lib.TASKS
