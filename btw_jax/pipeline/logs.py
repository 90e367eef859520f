"""The lines of the log, as programs and `btw_jax.fit` show them."""

from collections.abc import Iterator
import contextlib
import logging as std_logging
import pathlib
import sys

from absl import logging

_PACKAGE = str(pathlib.Path(__file__).parents[1])


def formatter() -> std_logging.Formatter:
  """Returns the format: the time, then the message."""
  return std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")


@contextlib.contextmanager
def shown(verbose: bool) -> Iterator[None]:
  """Shows the lines of this package for a while, or warnings only.

  A program that imports the package may have set up its own logging, which is
  left as it was.
  """
  logger = logging.get_absl_logger()
  handler = std_logging.StreamHandler(sys.stderr)
  handler.setFormatter(formatter())
  handler.addFilter(lambda record: is_shown(record, (_PACKAGE,)))
  before = logging.get_verbosity(), logger.level, logger.propagate
  logging.set_verbosity(logging.INFO if verbose else logging.WARNING)
  logger.addHandler(handler)
  logger.propagate = False
  try:
    yield
  finally:
    logger.removeHandler(handler)
    logging.set_verbosity(before[0])
    logger.setLevel(before[1])  # absl sets it beside its verbosity
    logger.propagate = before[2]


def is_shown(record: std_logging.LogRecord, folders: tuple[str, ...]) -> bool:
  """Returns True for lines from modules in the folders, and for warnings."""
  is_ours = record.pathname.startswith(folders)
  return record.levelno > std_logging.INFO or is_ours
