"""Batches of questions, each decomposed as one problem, on all cores."""

from collections.abc import Iterator, Sequence
from concurrent import futures
import functools
import os
import time
from typing import NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.analysis import passes as passes_lib
from btw_jax.analysis import pid

# Sizes that batches are padded to: few, since each is compiled.
_SIZES = sorted(k << power for power in range(2, 12) for k in (2, 3))
# Cells [n, n] of the problems that one call solves.
_CELLS_PER_CALL = 2**17
# Cells [n, n, C] of one problem; the solver holds a few tables of 64 MiB then.
_MOST_CELLS = 2**24
# The gaps in nats at which the solver stops: a single batch is exact, and of
# several the spread is much larger.
_TOLERANCE, _TOLERANCE_OF_BATCH = 1e-5, 5e-4
_SECONDS_PER_LINE = 5.0


class Solved(NamedTuple):
  """The decompositions of K batches of N questions together.

  Attributes:
    atoms: `[4, N]` atoms of each question, NaN where it is in no batch.
    means: `[4, K]` atoms of each batch.
    gaps: `[K]` largest error of the atoms of each batch.
    shares: `[K]` share of the questions in each batch.
    distances: `[2, 2]` nats and total variation of the two single passes from
      the P(Y) of their batch; the mean over batches.
  """

  atoms: np.ndarray
  means: np.ndarray
  gaps: np.ndarray
  shares: np.ndarray
  distances: np.ndarray


class _Batch(NamedTuple):
  """The decomposition of one batch of n questions.

  Attributes:
    atoms: `[n]` each; `gap` is a scalar.
    distances: `[2, 2]` of the two single passes.
  """

  atoms: pid.Decomposition
  distances: np.ndarray


def largest_size(num_options: int) -> int:
  """Returns the largest batch whose tables `[n, n, C]` fit into memory."""
  return max(_SIZES[0], int((_MOST_CELLS / num_options) ** 0.5))


def draw(
  passes: passes_lib.Passes, controls: np.ndarray, batch_size: int, seed: int
) -> list[np.ndarray]:
  """Draws batches of at most `batch_size` questions with the same control.

  Batches of one control are alike: questions are sorted by their decisions, and
  neighbours are dealt to different batches. In a batch that was drawn at random
  the three passes would have different P(Y), although over all questions they
  have the same.

  Args:
    passes: `[N, C]` log-probabilities.
    controls: `[N]` int, from 0 on. A control with a single question is left
      out, because it tells nothing of its information.
    batch_size: largest number of questions of a batch.
    seed: of the dealing.
  """
  rng = np.random.default_rng(seed)
  both, first, second = (x.argmax(axis=1) for x in passes)
  order = np.lexsort((passes.both.max(axis=1), second, first, both, controls))
  batches = []
  for members in np.split(order, np.cumsum(np.bincount(controls))[:-1]):
    if len(members) >= 2:
      number = -(-len(members) // batch_size)
      rounds = -(-len(members) // number)
      dealt = rng.permuted(np.tile(np.arange(number), (rounds, 1)), axis=1)
      dealt = dealt.ravel()[: len(members)]
      batches += [members[dealt == batch] for batch in range(number)]
  return batches


def solve(
  passes: passes_lib.Passes,
  controls: np.ndarray,
  batches: Sequence[np.ndarray],
  *,
  num_iterations: int,
) -> Solved:
  """Decomposes all batches.

  Args:
    passes: `[N, C]` log-probabilities.
    controls: `[N]` int; information is measured against the P(Y) of the pass
      with both sources, over all questions with the same control.
    batches: the rows of each.
    num_iterations: largest number of steps of the solver.
  """
  p_y = _marginals(passes.both, controls)
  solved = _solve_all(passes, p_y[controls], batches, num_iterations)
  atoms = np.full((4, len(controls)), np.nan)
  means = np.empty((4, len(batches)))
  for number, (rows, batch) in enumerate(zip(batches, solved, strict=True)):
    atoms[:, rows] = np.stack(batch.atoms[:4])[:, : len(rows)]
    means[:, number] = atoms[:, rows].mean(axis=1)
  sizes = np.array([len(rows) for rows in batches])
  shares = sizes / sizes.sum()
  distances = np.tensordot(shares, [b.distances for b in solved], 1)
  return Solved(
    atoms,
    means,
    np.array([batch.atoms.gap for batch in solved]),
    shares,
    np.asarray(distances),
  )


def _marginals(log_probs, controls):
  """Returns `[G, C]`, the mean of a pass over the questions of each control."""
  counts = np.bincount(controls)
  sums = [np.bincount(controls, p) for p in np.exp(log_probs).T]
  return (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)


def _solve_all(passes, references, batches, num_iterations) -> list[_Batch]:
  """Solves all batches, those of one padded size in the same program."""
  tolerance = _TOLERANCE if len(batches) == 1 else _TOLERANCE_OF_BATCH

  def solve_call(call):
    size, per_call, numbers = call
    rows = np.zeros((per_call, size), int)
    where = np.zeros((per_call, size), bool)
    for place, number in enumerate(numbers):
      rows[place, : len(batches[number])] = batches[number]
      where[place, : len(batches[number])] = True
    results = _solve_chunk(
      passes_lib.Passes(*(x[rows] for x in passes)),
      references[rows[:, 0]],
      where,
      num_iterations=num_iterations,
      tolerance=tolerance,
    )
    results = jax.tree.map(np.asarray, results)
    return [
      jax.tree.map(lambda x, place=place: x[place], results)
      for place in range(len(numbers))
    ]

  calls = list(_plan_calls([len(rows) for rows in batches]))
  solved = {}
  # A problem is too small for several cores; several problems are not.
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    try:
      results = _counted(pool.map(solve_call, calls), len(calls))
      for (_, _, numbers), of_call in zip(calls, results, strict=True):
        solved |= zip(numbers, of_call, strict=True)
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return [solved[number] for number in range(len(batches))]


def _plan_calls(
  sizes: Sequence[int],
) -> Iterator[tuple[int, int, list[int]]]:
  """Yields the padded size, the batches per call and the batches of a call."""
  padded = [next(s for s in _SIZES if s >= size) for size in sizes]
  for size in sorted(set(padded)):
    members = [k for k, other in enumerate(padded) if other == size]
    per_call = min(max(1, _CELLS_PER_CALL // size**2), len(members))
    for start in range(0, len(members), per_call):
      yield size, per_call, members[start : start + per_call]


def _counted(results, total):
  """Yields results, and says from time to time how many there are."""
  last = time.monotonic()
  for number, result in enumerate(results, 1):
    if time.monotonic() - last > _SECONDS_PER_LINE:
      last = time.monotonic()
      logging.info("decomposed %.0f %% of the batches", 100 * number / total)
    yield result


@functools.partial(jax.jit, static_argnames="num_iterations")
def _solve_chunk(passes, references, where, *, num_iterations, tolerance):
  """Decomposes batches `[K, n, C]`, one after the other.

  Information is measured against the references `[K, C]`.
  """

  def solve_batch(batch):
    passes, reference, where = batch
    p_y = passes_lib.marginal(passes.both, where)
    first, second = (
      passes_lib.project(x, p_y, where) for x in (passes.first, passes.second)
    )
    # The projection of a projection takes one step.
    atoms = passes_lib.decompose(
      passes_lib.Passes(passes.both, first, second),
      where,
      reference,
      num_iterations=num_iterations,
      tolerance=tolerance,
    )
    distances = [
      jnp.stack(passes_lib.distance(x, projected, where))
      for x, projected in ((passes.first, first), (passes.second, second))
    ]
    return _Batch(atoms, jnp.stack(distances))

  return jax.lax.map(solve_batch, (passes, references, where))
