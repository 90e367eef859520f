"""Times two functions in turns, and formats the result as a table row."""

from collections.abc import Callable
import importlib
import statistics
import time
import types

from absl import logging
import jax

# Seconds of pause, so that the thread pool of one side is idle before the other
# side starts, and the shortest duration of a turn: if JAX uses the CPU, and if
# it uses an accelerator, which shares no cores with the other side.
_PAUSE_AND_TURN = {"cpu": (0.2, 0.3)}
_ACCELERATOR_PAUSE_AND_TURN = 0.02, 0.1


def compare(
  first: Callable[[], None], second: Callable[[], None], rounds: int
) -> tuple[float, float, float]:
  """Times two functions in turns.

  Args:
    first: does its work and waits until the work is finished.
    second: the function to compare with; also waits for its work.
    rounds: number of turns of each side, after one round of warm-up.

  Returns:
    Median seconds of a call of `first` and of `second`, and the median over
    rounds of their ratio.
  """
  times = [(_seconds(first), _seconds(second)) for _ in range(rounds + 1)][1:]
  a, b = (statistics.median(column) for column in zip(*times, strict=True))
  return a, b, statistics.median(x / y for x, y in times)


def _seconds(function):
  """Returns the mean seconds of a call, over calls that fill a turn."""
  pause, turn = _PAUSE_AND_TURN.get(
    jax.default_backend(), _ACCELERATOR_PAUSE_AND_TURN
  )
  time.sleep(pause)
  # The first call refills the caches that the other side has used.
  function()
  calls, start = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - start) < turn:
    function()
    calls += 1
  return elapsed / calls


def import_optional(name: str) -> types.ModuleType | None:
  """Imports a module that only benchmarks need; None if it is missing."""
  try:
    return importlib.import_module(name)
  except ImportError:
    logging.warning(
      "%s is not installed: rows that need it are left out; to have them, run"
      " pip install '.[bench]'",
      name,
    )
    return None


def row(
  name: str, first: float, second: float, ratio: float, target: str
) -> dict[str, str]:
  """Formats the seconds of two sides and their ratio as a table row."""
  return {
    "ratio of": name,
    "first, ms": f"{1e3 * first:.3f}",
    "second, ms": f"{1e3 * second:.3f}",
    "ratio": f"{ratio:.2f}",
    "target": target,
  }
