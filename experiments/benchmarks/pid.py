"""Measures decompositions against dit, by batch size and by problem size."""

from collections.abc import Callable
import warnings

import jax
import numpy as np

from btw_jax.analysis import pid
from btw_jax.reports import tables as tables_lib
from experiments.benchmarks import timing

_SHAPE, _NUM_PROBLEMS = (10, 10, 3), 256
_GAP = 1e-3
# The gap that is reported includes rounding.
_TOLERANCE = 0.9 * _GAP
# dit needs long for a problem, so that its turn has only a few.
_NUM_DIT_PROBLEMS = 4
_BATCHES = (1, 16)
_SHAPES = ((4, 4, 3), (32, 32, 3), (64, 64, 3), (64, 64, 10))


def run(rounds: int) -> list[dict[str, str]]:
  """Measures the seconds of a problem against dit and over sizes."""
  rows, broja = [], _broja(_SHAPE, _NUM_PROBLEMS)
  if dit_solver := _dit(_problems(_SHAPE, _NUM_DIT_PROBLEMS)):
    first, second, ratio = timing.compare(dit_solver, broja, rounds)
    rows.append(
      timing.row(
        f"dit, cone / broja to a gap of {_GAP:g}, {_name(_SHAPE)},"
        f" {_NUM_PROBLEMS} problems",
        first / _NUM_DIT_PROBLEMS,
        second / _NUM_PROBLEMS,
        ratio * _NUM_PROBLEMS / _NUM_DIT_PROBLEMS,
        "at least 100",
      )
    )
  for batch in _BATCHES:
    first, second, ratio = timing.compare(_broja(_SHAPE, batch), broja, rounds)
    rows.append(
      timing.row(
        f"broja, {tables_lib.quantity(batch, 'problem')} / {_NUM_PROBLEMS}"
        f" problems, {_name(_SHAPE)}",
        first / batch,
        second / _NUM_PROBLEMS,
        ratio * _NUM_PROBLEMS / batch,
        "",
      )
    )
  baseline = _broja(_SHAPE, _BATCHES[-1])
  for shape in _SHAPES:
    first, second, ratio = timing.compare(
      _broja(shape, _BATCHES[-1]), baseline, rounds
    )
    cells = np.prod(shape) / np.prod(_SHAPE)
    rows.append(
      timing.row(
        f"{_name(shape)} / {_name(_SHAPE)}, {cells:.3g} times the cells,"
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
  """Draws joint distributions uniformly from the simplex, `[count, *shape]`."""
  rng = np.random.default_rng(0)
  drawn = rng.dirichlet(np.ones(np.prod(shape)), count)
  return drawn.reshape(count, *shape).astype(np.float32)


def _broja(shape, count) -> Callable[[], None]:
  """Returns a batched solve, which fails if a duality gap stays too large."""
  solve = jax.jit(lambda joint: pid.broja(joint, tolerance=_TOLERANCE))
  problems = jax.device_put(_problems(shape, count))

  def solve_all():
    decomposition = jax.block_until_ready(solve(problems))
    gap = np.max(decomposition.gap)
    if not gap <= _GAP:
      raise RuntimeError(f"{shape}: the gap is {gap}, larger than {_GAP}")

  return solve_all


def _dit(problems) -> Callable[[], None] | None:
  """Returns dit's solve of every problem; None without dit or its solver."""
  dit = timing.import_optional("dit")
  if dit is None or timing.import_optional("ecos") is None:
    return None
  solver = timing.import_optional("dit.pid").PID_BROJA
  letters = [chr(97 + i) for i in range(max(problems.shape))]
  outcomes = [
    tuple(letters[i] for i in outcome)
    for outcome in np.ndindex(*problems.shape[1:])
  ]
  joints = [
    dit.Distribution(outcomes, (p.astype(float) / p.sum(dtype=float)).ravel())
    for p in problems
  ]

  def solve_all():
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      for joint in joints:
        solver(joint, [[0], [1]], [2], method="cone")

  return solve_all
