import dataclasses
import json

import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from btw_jax import errors
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import settings
from btw_jax.pipeline import workdir as workdir_lib

SHAPE = workdir_lib.DataShape(
  ("audio", "text"), (3, 2), "regression", 1, (0, 0), 1
)


def _config(folder, **values):
  return settings.make_config({"workdir": str(folder), **values})


def _open(folder, **values):
  saved = workdir_lib.SavedConfig(_config(folder, **values), SHAPE, {}, "data")
  return workdir_lib.Workdir(saved, "mae")


@pytest.mark.parametrize("name", ["epoch", "uniform", "kl+mi", "ogm_ge"])
def test_modalities_with_names_of_columns_and_rows_are_refused(name):
  with pytest.raises(
    errors.InputError, match="has the name of a column or a r"
  ):
    workdir_lib.check_modalities(["audio", name])
  workdir_lib.check_modalities(["audio", "text"])


def test_two_runs_cannot_train_in_one_folder(tmp_path):
  first = _open(tmp_path)
  with pytest.raises(errors.InputError, match="works there: wait until it has"):
    _open(tmp_path)
  first.close()
  _open(tmp_path).close()


@pytest.mark.parametrize("name", ["snapshots", "checkpoints", "tensorboard"])
def test_a_file_in_the_place_of_models_is_named(tmp_path, name):
  (tmp_path / name).write_text("")
  with pytest.raises(errors.InputError, match=f"{name}: is no folder, and the"):
    _open(tmp_path)


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
  _open(tmp_path).close()
  path = tmp_path / "config.json"
  content = json.loads(path.read_text())
  assert workdir_lib.read(tmp_path).config == _config(tmp_path)
  content["config"][name] = value
  path.write_text(json.dumps(content))
  with pytest.raises(errors.InputError, match=f"config.json: {message}"):
    workdir_lib.read(tmp_path)


def test_a_stage_that_lacks_rows_is_logged(tmp_path, caplog):
  workdir = _open(tmp_path)
  workdir.rewind("multimodal", 2)
  assert "metrics.csv: lacks 2 of the first 2 epochs of multimodal" in (
    caplog.text
  )
  workdir.close()


@pytest.mark.training
def test_the_snapshots_of_another_run_are_refused(tmp_path):
  config = _config(tmp_path)
  about = {"config": config_lib.to_dict(config), "data": "other"}
  ocp.save(
    tmp_path / "snapshots/s/1", {"w": np.zeros(2)}, custom_metadata=about
  )
  saved = workdir_lib.SavedConfig(config, SHAPE, {}, "data")
  with pytest.raises(errors.InputError, match="s/1: .* trained on other data"):
    workdir_lib.check_same_data(saved)
  other = dataclasses.replace(config, learning_rate=0.5)
  with pytest.raises(
    errors.InputError, match=r"s/1: .* --learning_rate .0\.00"
  ):
    workdir_lib.check_same_config(other)
  workdir_lib.check_same_config(config)
