"""Speed of decompositions: against dit, and by size and number of problems."""

from collections.abc import Callable
import warnings

import jax
import numpy as np

from btw_jax.analysis import pid
from experiments.benchmarks import timing

_SHAPE, _NUM_PROBLEMS = (10, 10, 3), 256
_GAP = 1e-3
# Problems that dit solves in a turn: one takes long.
_FEW = 4
_BATCHES = (1, 16)
_SHAPES = ((4, 4, 3), (32, 32, 3), (64, 64, 3), (64, 64, 10))


def run(rounds: int) -> list[dict[str, str]]:
  """Problems per second against dit's cone solver, then what grows how.

  Args:
    rounds: turns of each side.

  Returns:
    Rows of a table; times are of one problem.
  """
  rows, ours = [], _ours(_SHAPE, _NUM_PROBLEMS)
  if theirs := _dit(_problems(_SHAPE, _FEW)):
    first, second, ratio = timing.compare(theirs, ours, rounds)
    rows.append(
      timing.row(
        f"dit, cone / broja to a gap of {_GAP:g}, {_name(_SHAPE)},"
        f" {_NUM_PROBLEMS} problems",
        first / _FEW,
        second / _NUM_PROBLEMS,
        ratio * _NUM_PROBLEMS / _FEW,
        "at least 100",
      )
    )
  for batch in _BATCHES:
    first, second, ratio = timing.compare(_ours(_SHAPE, batch), ours, rounds)
    rows.append(
      timing.row(
        f"broja of {batch} / of {_NUM_PROBLEMS}, {_name(_SHAPE)}",
        first / batch,
        second / _NUM_PROBLEMS,
        ratio * _NUM_PROBLEMS / batch,
        "",
      )
    )
  usual = _ours(_SHAPE, _BATCHES[-1])
  for shape in _SHAPES:
    first, second, ratio = timing.compare(
      _ours(shape, _BATCHES[-1]), usual, rounds
    )
    cells = np.prod(shape) / np.prod(_SHAPE)
    rows.append(
      timing.row(
        f"{_name(shape)} / {_name(_SHAPE)}, {cells:.2g} times the cells,"
        f" {_BATCHES[-1]} problems",
        first / _BATCHES[-1],
        second / _BATCHES[-1],
        ratio,
        "",
      )
    )
  return rows


def _name(shape):
  return "x".join(map(str, shape))


def _problems(shape, count):
  """Joints drawn evenly from all."""
  rng = np.random.default_rng(0)
  drawn = rng.dirichlet(np.ones(np.prod(shape)), count)
  return drawn.reshape(count, *shape).astype(np.float32)


def _ours(shape, count) -> Callable[[], None]:
  solve = jax.jit(lambda joint: pid.broja(joint, tolerance=_GAP))
  problems = jax.device_put(_problems(shape, count))

  def once():
    found = jax.block_until_ready(solve(problems))
    if not np.max(found.gap) <= _GAP:
      raise RuntimeError(f"{shape}: a gap of {np.max(found.gap)} is left")

  return once


def _dit(problems) -> Callable[[], None] | None:
  dit = timing.library("dit")
  if dit is None or timing.library("ecos") is None:
    return None
  solver = timing.library("dit.pid").PID_BROJA
  letters = [chr(97 + i) for i in range(max(problems.shape))]
  outcomes = [
    tuple(letters[i] for i in outcome)
    for outcome in np.ndindex(*problems.shape[1:])
  ]
  joints = [
    dit.Distribution(outcomes, (p.astype(float) / p.sum(dtype=float)).ravel())
    for p in problems
  ]

  def once():
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      for joint in joints:
        solver(joint, [[0], [1]], [2], method="cone")

  return once
