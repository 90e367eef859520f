"""Tests of the lines that are shown while `fit` runs."""

from absl import logging
import pytest

from btw_jax.pipeline import logs


@pytest.mark.parametrize("level", [0, 15, 30])
def test_the_logger_is_left_as_it_was(level):
  logger = logging.get_absl_logger()
  before = logging.get_verbosity(), logger.level, logger.propagate
  logger.setLevel(level)
  handlers = list(logger.handlers)
  try:
    with logs.shown(verbose=True):
      assert logger.level == logging.converter.STANDARD_INFO
    assert logger.level == level
    assert (logging.get_verbosity(), logger.propagate) == before[::2]
    assert logger.handlers == handlers
  finally:
    logger.setLevel(before[1])
