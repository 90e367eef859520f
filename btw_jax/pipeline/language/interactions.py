"""Interactions (PID) behind the decisions of the language models of a run.

Each task is decomposed in two ways: in a grid, where every value of one source
meets every value of the other, and by masking, as an audit of any model does.
The grid is also decomposed after every layer of the decoder ("logit lens").
"""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

import numpy as np

from btw_jax.data.questions import question_set
from btw_jax.pipeline.language import interactions_grid as grid_lib
from btw_jax.pipeline.language import interactions_masked as masked_lib
from btw_jax.pipeline.language import run as run_lib
from btw_jax.pipeline.language import truth as truth_lib

# Questions of each task that the values of a grid are drawn from: so many that
# the rarest sum, one in a hundred, is not missing.
_POOL = 2000
_TO_BITS = 1 / np.log(2)


@dataclasses.dataclass(frozen=True)
class Options:
  """The way tasks are decomposed.

  Attributes:
    num_values: about so many values of each source meet in a grid.
    num_questions: questions that are answered with masks, of all tasks.
    num_resamples: of a bootstrap interval in a grid.
    seed: of questions, values, noise and resamples.
  """

  num_values: int = 40
  num_questions: int = 6000
  num_resamples: int = 1000
  seed: int = 0


class TaskAtoms(NamedTuple):
  """The atoms R, U1, U2 and S of a task, for the models of S seeds.

  Attributes:
    bits: `[S, 4]`.
    intervals: `[4, 2]` bits, of the means over seeds.
    gap: bits, largest error of an atom.
    layers: `[S, L + 1, 4]` bits after every layer; None by masking.
    moved: total variation distance, from 0 to 1, of the P(Y) of the single
      passes from that of the pass with both sources, the larger one; None in a
      grid.
  """

  bits: np.ndarray
  intervals: np.ndarray
  gap: float
  layers: np.ndarray | None = None
  moved: float | None = None


class Interactions(NamedTuple):
  """The decompositions of all tasks of a run.

  Attributes:
    truth: task -> `[4]` bits of an answerer that is always right.
    grid: open task -> its atoms in a grid.
    masked: task -> its atoms by masking.
    answers: name -> arrays of the masked passes, as an audit reads them. The
      name is the task; with several seeds, the task and the seed.
  """

  truth: Mapping[str, np.ndarray]
  grid: Mapping[str, TaskAtoms]
  masked: Mapping[str, TaskAtoms]
  answers: Mapping[str, Mapping[str, np.ndarray]]


def measure(run: run_lib.FinishedRun, options: Options) -> Interactions:
  """Decomposes the decisions of the models of a run, task by task."""
  truth = truth_lib.atoms(run.setup.config.chosen_tasks)
  return Interactions(
    {task: _TO_BITS * atoms for task, atoms in truth.items()},
    measure_grids(run, options),
    *measure_masked(run, options),
  )


def measure_grids(
  run: run_lib.FinishedRun, options: Options
) -> dict[str, TaskAtoms]:
  """Decomposes the open tasks of a run in grids, after every layer."""
  tasks = [t for t in run.setup.config.chosen_tasks if truth_lib.is_open(t)]
  if not tasks:
    return {}
  number = _POOL * len(run.setup.config.chosen_tasks)
  pool = run.setup.questions("test", number, options.seed)
  grids, parts = [], []
  for task in tasks:
    questions = pool.take(pool.tasks == task)
    grid = grid_lib.draw(
      questions, truth_lib.make(task), options.num_values, options.seed
    )
    grids.append(grid)
    parts.append(grid_lib.recombine(questions, grid, options.seed))
  # All at once, so that each program is compiled once.
  log_probs = run.log_probs(question_set.concatenate(parts), layers=True)
  ends = np.cumsum([len(part.tasks) for part in parts])[:-1]
  joints = [
    grid_lib.joint(
      np.exp(of_task[..., : truth_lib.num_options(task)]).swapaxes(1, 2), grid
    )
    for of_task, grid, task in zip(
      np.split(log_probs, ends, axis=1), grids, tasks, strict=True
    )
  ]
  return {
    task: _of_grid(grid, solved, options)
    for task, grid, solved in zip(
      tasks, grids, grid_lib.solve(joints), strict=True
    )
  }


def _of_grid(grid, solved, options):
  """Returns the atoms of a task; `solved` is `[S, L + 1, ...]`."""
  layers = _TO_BITS * solved.atoms
  ends = grid_lib.intervals(
    solved.shares[:, -1].mean(axis=0),
    grid.strata,
    num_resamples=options.num_resamples,
    seed=options.seed,
  )
  gap = _TO_BITS * float(solved.gap[:, -1].max())
  return TaskAtoms(layers[:, -1], _TO_BITS * ends, gap, layers)


def measure_masked(
  run: run_lib.FinishedRun, options: Options
) -> tuple[dict[str, TaskAtoms], dict[str, dict[str, np.ndarray]]]:
  """Decomposes all tasks of a run by calibrated embedding masking.

  Returns:
    `masked` and `answers` of `Interactions`.
  """
  setup = run.setup
  questions = setup.questions("test", options.num_questions, options.seed)
  profile = setup.questions("valid", options.num_questions, options.seed)
  answered = masked_lib.passes(run, questions, profile, seed=options.seed)
  seeds = setup.config.seeds
  measured, exported = {}, {}
  for task in setup.config.chosen_tasks:
    rows, interactions = questions.tasks == task, []
    for number, seed in enumerate(seeds):
      arrays = masked_lib.to_arrays(
        {masked: x[number, rows] for masked, x in answered.items()},
        questions.take(rows),
        truth_lib.sources(task),
        setup.world.vocabulary,
      )
      exported[f"{task}_seed{seed}" if len(seeds) > 1 else task] = arrays
      interactions.append(masked_lib.decompose(arrays))
    measured[task] = _of_masks(interactions)
  return measured, exported


def _of_masks(interactions):
  """Returns the atoms of a task from those of every seed."""
  atoms, ends = masked_lib.mean(interactions)
  rows = [one.row for one in interactions]
  return TaskAtoms(
    _TO_BITS * atoms,
    _TO_BITS * ends,
    _TO_BITS * max(row["gap"] for row in rows),
    moved=max(
      of_pass["total_variation"]
      for row in rows
      for of_pass in row["distance"].values()
    ),
  )
