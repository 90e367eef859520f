from absl import flags
import pytest

from btw_jax import errors
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import settings
from experiments import flags as flags_lib


def test_values_may_be_written_as_on_the_command_line_or_in_python():
  written = settings.make_config(
    {"weighting": "uniform,auto", "strength": "0.5,auto", "modalities": ""}
  )
  in_python = settings.make_config(
    {"weighting": ["uniform", "auto"], "strength": [0.5, "auto"],
     "modalities": ()}
  )  # fmt: skip
  assert written == in_python
  assert written.weighting.names == ("uniform", "auto")
  assert settings.make_config({"embedding_scale": 0.5}).weighting.scales == [
    0.5
  ]
  assert settings.make_config({}) == config_lib.RunConfig()


def test_settings_that_do_not_fit_are_named_as_in_python():
  with pytest.raises(errors.InputError, match=r"^normalise=minmax: weighting="):
    settings.make_config({"normalise": "minmax", "weighting": "mi"})


WRONG = {
  "num_epoch": (3, "num_epoch=3: no such setting: did you mean num_epochs?"),
  "zzz": (3, "zzz=3: no such setting: see btw-jax train --help"),
  "num_epochs": (0, "num_epochs=0: give a whole number of at least 1"),
  "batch_size": (2.5, "batch_size=2.5: give a whole number of at least 1"),
  "dropout": (2, "dropout=2: give a number 0 to 0.95"),
  "learning_rate": (float("nan"), "learning_rate=nan: give a number of at"),
  "refit": ("maybe", "refit='maybe': give True or False"),
  "model": ("cnn", "model='cnn': use one of mlp, moe"),
  "weighting": ("uniform,lk", "weighting='lk': use some of uniform, kl"),
  "strength": ([2], "strength=2: give numbers 0 to 1, or 'auto'"),
  "embedding_scale": (0, "embedding_scale=0: give numbers above 0, or 'auto'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_named(name):
  value, message = WRONG[name]
  with pytest.raises(errors.InputError, match=message) as error:
    settings.make_config({name: value})
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "name", [n for n in WRONG if n not in ("zzz", "num_epoch")]
)
def test_what_python_refuses_the_flags_refuse(name):
  values = flags.FlagValues()
  flags_lib.define(values)
  value = WRONG[name][0]
  text = ",".join(map(str, value)) if isinstance(value, list) else value
  with pytest.raises(flags.Error):
    values(["program", f"--{name}={text}"])
    flags_lib.check_values(values)


def test_an_empty_list_of_weightings_is_refused():
  with pytest.raises(errors.InputError, match="weighting is empty: use some"):
    settings.make_config({"weighting": []})
  assert settings.make_config({"mitigation": []}).mitigation.methods == ()
