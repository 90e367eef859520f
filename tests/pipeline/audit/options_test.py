"""Options are checked, and their choices are those of the readers."""

import pytest

from btw_jax import errors
from btw_jax.data.answers import catalog
from btw_jax.data.answers import read_options
from btw_jax.pipeline.audit import options as options_lib


def test_formats_are_those_of_the_catalog():
  assert tuple(catalog.FORMATS) == options_lib.FORMATS


def test_settings_become_options():
  options = options_lib.make(
    {"sign": "loss", "modalities": "vision,text", "top_share": 0.2, "seed": 3}
  )
  assert options.reading == read_options.ReadOptions(sign="loss")
  assert options.modalities == ("vision", "text")
  assert (options.top_share, options.seed) == (0.2, 3)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"colum": "x"}, r"colum='x': no such setting: see btw-jax audit --help"),
    ({"grup": "x"}, r"grup='x': no such setting: did you mean group\?"),
    ({"top_share": 0.9}, r"top_share=0.9: give a number 0 to 0.5"),
    ({"batch_size": 2}, r"batch_size=2: give a whole number 8 to 4096"),
    ({"sign": "minus"}, r"sign='minus': use one of auto, likelihood, loss"),
  ],
)
def test_wrong_settings_are_named(settings, message):
  with pytest.raises(errors.InputError, match=message):
    options_lib.make(settings)
