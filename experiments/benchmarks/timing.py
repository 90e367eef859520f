"""Times two things in turns, in one process."""

from collections.abc import Callable
import importlib
import statistics
import time
import types

from absl import logging

# Seconds for the threads of one side to go to sleep before the other's turn,
# and of a turn at least.
_PAUSE, _TURN = 0.2, 0.3


def compare(
  first: Callable[[], None], second: Callable[[], None], rounds: int
) -> tuple[float, float, float]:
  """Times two functions in turns.

  Args:
    first: does its work and waits for it.
    second: likewise.
    rounds: turns of each, after one to warm up.

  Returns:
    Median seconds of each, and the median of the rounds' ratios.
  """
  times = [(_seconds(first), _seconds(second)) for _ in range(rounds + 1)][1:]
  a, b = (statistics.median(column) for column in zip(*times, strict=True))
  return a, b, statistics.median(x / y for x, y in times)


def _seconds(function):
  """Mean seconds of a call, over calls that together take `_TURN`."""
  time.sleep(_PAUSE)
  function()
  calls, start = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - start) < _TURN:
    function()
    calls += 1
  return elapsed / calls


def library(name: str) -> types.ModuleType | None:
  """A library that only benchmarks need.

  Args:
    name: of the module, as of its package.

  Returns:
    The module; None, and a line in the log, where it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError:
    logging.warning(
      "%s is not installed: its rows are left out; pip install %s", name, name
    )
    return None


def row(
  name: str, first: float, second: float, ratio: float, target: str
) -> dict[str, str]:
  """A row of a table of ratios.

  Args:
    name: what is compared.
    first: seconds.
    second: seconds.
    ratio: of the two.
    target: what the ratio should be.

  Returns:
    Heading -> cell.
  """
  return {
    "ratio of": name,
    "first, ms": f"{1e3 * first:.3f}",
    "second, ms": f"{1e3 * second:.3f}",
    "ratio": f"{ratio:.2f}",
    "target": target,
  }
