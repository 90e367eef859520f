import dataclasses
import json

import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from btw_jax import errors
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import settings

SHAPE = saved_config.DataShape(
  ("audio", "text"), (3, 2), "regression", 1, (0, 0), 1
)


def _saved(folder):
  config = settings.make_config({"workdir": str(folder)})
  return saved_config.SavedConfig(config, SHAPE, {"train": 5}, "data")


def test_a_configuration_is_read_back(tmp_path):
  saved = _saved(tmp_path)
  saved.write()
  assert saved_config.read(tmp_path) == saved


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("num_seeds", "x", "num_seeds='x': give a whole number"),
    ("hidden_dim", -8, "hidden_dim=-8: give a whole number 1 to"),
    ("weighting", ["lk"], "weighting='lk': use some of"),
  ],
)
def test_a_setting_that_no_flag_could_have_is_named(
  tmp_path, name, value, message
):
  _saved(tmp_path).write()
  path = tmp_path / "config.json"
  content = json.loads(path.read_text())
  content["config"][name] = value
  path.write_text(json.dumps(content))
  with pytest.raises(errors.InputError, match=f"config.json: {message}"):
    saved_config.read(tmp_path)


@pytest.mark.training
def test_the_snapshots_of_another_run_are_refused(tmp_path):
  saved = _saved(tmp_path)
  about = saved.about | {"data": "other"}
  ocp.save(
    tmp_path / "snapshots/s/1", {"w": np.zeros(2)}, custom_metadata=about
  )
  with pytest.raises(errors.InputError, match="s/1: .* trained on other data"):
    saved_config.check_same_data(saved)
  other = dataclasses.replace(saved.config, learning_rate=0.5)
  with pytest.raises(
    errors.InputError, match=r"s/1: .* --learning_rate .0\.00"
  ):
    saved_config.check_same_config(other)
  saved_config.check_same_config(saved.config)
