import pytest

from btw_jax import errors
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import settings
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import vectorized_runs

SHAPE = saved_config.DataShape(
  ("audio", "text"), (3, 2), "regression", 1, (0, 0), 1
)


def _config(folder, **values):
  return settings.make_config({"workdir": str(folder), **values})


def _open(folder, **values):
  saved = saved_config.SavedConfig(_config(folder, **values), SHAPE, {}, "data")
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


def test_a_stage_that_lacks_rows_is_logged(tmp_path, caplog):
  workdir = _open(tmp_path)
  spec = vectorized_runs.RunSpec("uniform", 0.0, 1.0)
  workdir.rewind("multimodal", 2, [spec], [0])
  assert "metrics.csv: lacks 2 of the first 2 epochs of multimodal" in (
    caplog.text
  )
  workdir.close()
