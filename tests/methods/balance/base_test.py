import numpy as np
import pytest

from btw_jax.methods.balance import base
from btw_jax.methods.balance import catalog


@pytest.mark.parametrize("name", catalog.METHODS)
@pytest.mark.parametrize("number", [1, 2, 3, 5, 9])
def test_candidates_are_distinct_and_begin_with_the_default(name, number):
  setting = catalog.load(name).setting
  assert setting.low <= setting.default <= setting.high
  candidates = setting.candidates(number)
  assert candidates[0] == setting.default
  assert len(candidates) == len(set(candidates)) == number
  assert all(setting.low <= value <= setting.high for value in candidates)
  if number > 2:
    # One end may be closest to the default, not both.
    assert {setting.low, setting.high} & set(candidates)


def test_candidates_are_spaced_evenly_on_their_scale():
  linear = base.Setting("rate", 0.2, 0.1, 0.5)
  # .1, .2, .3, .4 and .5, of which .2 is the default.
  np.testing.assert_allclose(linear.candidates(5), [0.2, 0.1, 0.3, 0.4, 0.5])
  logarithmic = base.Setting("weight", 2.0, 0.01, 100.0, log=True)
  # .01, .1, 1, 10 and 100; 2 is log 2 from 1 and log 5 from 10.
  np.testing.assert_allclose(
    logarithmic.candidates(5), [2.0, 0.01, 0.1, 10.0, 100.0]
  )
  # On a linear scale 4 is closer to 1, on a logarithmic one to 10.
  for log, others in ((False, [10.0]), (True, [1.0])):
    setting = base.Setting("weight", 4.0, 1.0, 10.0, log=log)
    assert setting.candidates(2) == [4.0, *others]
