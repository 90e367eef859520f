"""Interactions (PID) of two sources behind the decisions of a model."""

from collections.abc import Callable, Mapping
from concurrent import futures
import functools
import os
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax.analysis import passes as passes_lib
from btw_jax.analysis import pid
from btw_jax.data.answers import conditions
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import quality
from btw_jax.pipeline.audit import roles

ATOMS = ("redundant", "unique1", "unique2", "synergistic")
# Values of a column of tasks, and the least number of questions of a task.
_MOST_TASKS, _LEAST_QUESTIONS = 100, 8
_LEAST_SIZE = 8
# Cells [n, n] of the problems that one call solves.
_CELLS_PER_CALL = 2**17
# The gaps in nats at which the solver stops: a single batch is exact, and of
# several the spread is much larger.
_TOLERANCE, _TOLERANCE_OF_BATCH = 1e-5, 5e-4
_SECONDS_PER_LINE = 5.0


class Interaction(NamedTuple):
  """The decomposition of a set of questions.

  Attributes:
    row: a row for JSON.
    atoms: `[N]` atoms of each question, NaN where it was left out; None for
      hard answers.
  """

  row: Mapping[str, Any]
  atoms: pid.Decomposition | None


class _Solved(NamedTuple):
  """The decompositions of K batches of n questions.

  Attributes:
    atoms: `[K, n]` each; `gap` is `[K]`.
    distances: `[K, 3, 2]` of the three passes from their common P(Y).
  """

  atoms: pid.Decomposition
  distances: np.ndarray


def tasks(answers: conditions.Answers, by: str) -> list[tuple[str, np.ndarray]]:
  """Returns the name and the `[N]` mask of each task with enough questions.

  Raises:
    InputError: if there is no such column, or if it has too many values.
  """
  if not by:
    return []
  values = column(answers, "by", by)
  names = np.unique(values)
  if len(names) > _MOST_TASKS:
    raise errors.InputError(
      f"--by={by}: the column has {len(names):,} values: give one with at most"
      f" {_MOST_TASKS}."
    )
  masks = [(str(name) or "(none)", values == name) for name in names]
  small = [name for name, mask in masks if mask.sum() < _LEAST_QUESTIONS]
  if small:
    logging.warning(
      "%d tasks have fewer than %d questions and are left out: %s",
      len(small), _LEAST_QUESTIONS, ", ".join(small[:3]),
    )  # fmt: skip
  return [(n, mask) for n, mask in masks if mask.sum() >= _LEAST_QUESTIONS]


def column(answers: conditions.Answers, flag: str, name: str) -> np.ndarray:
  """Returns a column of the questions `[N]`.

  Raises:
    InputError: naming the flag, if no file has the column.
  """
  if name not in answers.columns:
    known = ", ".join(sorted(answers.columns)) or "none"
    raise errors.InputError(
      f"--{flag}={name}: no file has this column; there are: {known}."
    )
  return np.asarray(answers.columns[name])


def measure(
  answers: conditions.Answers,
  pair: roles.Pair,
  options: options_lib.Options,
  *,
  task: str = "",
) -> Interaction:
  """Decomposes the information of a pair of sources about the decision.

  Probabilities are decomposed exactly, in batches; hard answers by their
  table of counts, which is corrected for what chance alone gives.
  """
  names = (pair.both, pair.only_first, pair.only_second)
  row = {
    "task": task,
    "first": pair.first,
    "second": pair.second,
    "control": pair.control,
    "num_questions": len(answers),
    "accuracy": _accuracies(answers, names),
  }
  if any(name not in answers.log_probs for name in names):
    if pair.control and options.control:
      logging.warning(
        "--control=%s: hard answers are not split by it", options.control
      )
    return Interaction(row | _of_answers(answers, names, options), None)
  details, atoms = _of_probabilities(
    answers, names, options, bool(pair.control)
  )
  if not set(names).isdisjoint(answers.ceilings):
    details["at_ceiling"] = _of_probabilities(
      _at_ceiling(answers), names, options, bool(pair.control)
    )[0]["atoms"]
  return Interaction(row | details, atoms)


def _accuracies(answers, names):
  known = quality.labelled(answers)
  if not known.any():
    return None
  return {
    role: float(quality.is_right(answers, name)[known].mean())
    for role, name in zip(("both", "first", "second"), names, strict=True)
  }


def _at_ceiling(answers):
  """Returns the answers in which truncated options have all they could have."""
  log_probs = dict(answers.log_probs)
  for name, ceiling in answers.ceilings.items():
    total = np.logaddexp.reduce(ceiling, axis=-1, keepdims=True)
    log_probs[name] = ceiling - total
  return conditions.dataclasses.replace(answers, log_probs=log_probs)


def _of_answers(answers, names, options):
  """Decomposes the table of hard answers."""
  decisions = np.stack([answers.decisions[name] for name in names])
  decisions = decisions[:, np.all(decisions != conditions.NONE, axis=0)]
  details = {"kind": "answers", "num_answered": decisions.shape[1]}
  if decisions.shape[1] < _LEAST_QUESTIONS:
    return details | {"atoms": None}
  shuffled = _ANSWERS(
    *map(jnp.asarray, decisions),
    jax.random.key(options.seed),
    num_options=len(answers.option_names),
    num_shuffles=options.num_permutations,
  )
  shuffled = jax.tree.map(float, shuffled)
  details["gap"] = shuffled.observed.gap
  details["atoms"] = {
    atom: {
      "mean": getattr(shuffled.observed, atom)
      - getattr(shuffled.null_mean, atom),
      "observed": getattr(shuffled.observed, atom),
      "by_chance": getattr(shuffled.null_mean, atom),
      "spread": getattr(shuffled.null_std, atom),
    }
    for atom in ATOMS
  }
  return details


def _of_probabilities(answers, names, options, is_controlled):
  """Decomposes probabilities in batches."""
  groups = np.zeros(len(answers), int)
  if is_controlled and options.control:
    values = column(answers, "control", options.control)
    groups = np.unique(values, return_inverse=True)[1]
  batches = _draw_batches(groups, options.batch_size, options.seed)
  num_used = sum(map(len, batches))
  details = {
    "kind": "probabilities",
    "num_answered": num_used,
    "num_batches": len(batches),
    "batch_size": max(map(len, batches), default=0),
    "num_controls": int(groups.max()) + 1 if len(groups) else 0,
  }
  if not batches:
    return details | {"atoms": None}, None
  offered = np.arange(len(answers.option_names)) < answers.num_options[:, None]
  passes = passes_lib.Passes(
    *(
      np.asarray(_RAISE(np.asarray(answers.log_probs[n], np.float32), offered))
      for n in names
    )
  )
  p_y = _marginals(passes.both, groups)
  solved = _solve_batches(passes, p_y[groups], batches, options)
  sizes = np.array([len(rows) for rows in batches])
  atoms = np.full((len(ATOMS), len(answers)), np.nan)
  means = np.empty((len(ATOMS), len(batches)))
  for number, (rows, one) in enumerate(zip(batches, solved, strict=True)):
    atoms[:, rows] = np.stack(one.atoms[:4])[:, : len(rows)]
    means[:, number] = atoms[:, rows].mean(axis=1)
  shares = sizes / sizes.sum()
  details["atoms"] = {
    atom: {
      "mean": float(values @ shares),
      "spread": _spread(values, shares),
    }
    for atom, values in zip(ATOMS, means, strict=True)
  }
  details["gap"] = float(np.array([s.atoms.gap for s in solved]) @ shares)
  distances = np.stack([s.distances for s in solved])
  if not (is_controlled and options.control):
    where = jnp.ones(len(answers), bool)
    whole = [_DISTANCE(x, jnp.asarray(p_y[0]), where) for x in passes]
    distances, shares = np.array(whole)[None], np.ones(1)
  distances = np.tensordot(shares, distances, 1)
  details["distance"] = {
    role: {"nats": float(nats), "total_variation": float(variation)}
    for role, (nats, variation) in zip(
      ("both", "first", "second"), distances, strict=True
    )
  }
  return details, pid.Decomposition(*atoms, details["gap"])


def _spread(values, shares):
  """Returns the standard deviation over batches; None for a single one."""
  if len(values) < 2:
    return None
  variance = shares @ (values - shares @ values) ** 2
  return float(np.sqrt(variance * len(values) / (len(values) - 1)))


def _marginals(log_probs, groups):
  """Returns `[G, C]`, the mean of a pass over the questions of each group."""
  counts = np.bincount(groups)
  sums = np.stack([np.bincount(groups, p) for p in np.exp(log_probs).T], axis=1)
  return (sums / counts[:, None]).astype(np.float32)


def _draw_batches(groups, batch_size, seed):
  """Draws batches of at most `batch_size` questions of one group each.

  A group with a single question tells nothing of its information.
  """
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(groups))
  order = order[np.argsort(groups[order], kind="stable")]
  batches = []
  for members in np.split(order, np.cumsum(np.bincount(groups))[:-1]):
    if len(members) >= 2:
      number = -(-len(members) // batch_size)
      batches += np.array_split(members, number)
  return batches


def _solve_batches(passes, p_y, batches, options) -> list[_Solved]:
  """Solves all batches, those of one padded size in the same program."""
  sizes = [_padded_size(len(rows), options.batch_size) for rows in batches]
  solved: list[_Solved | None] = [None] * len(batches)
  calls = []
  for size in sorted(set(sizes)):
    members = [k for k, padded in enumerate(sizes) if padded == size]
    per_call = min(max(1, _CELLS_PER_CALL // size**2), len(members))
    calls += [
      (size, per_call, members[start : start + per_call])
      for start in range(0, len(members), per_call)
    ]

  def solve(call):
    size, per_call, numbers = call
    rows = np.zeros((per_call, size), int)
    where = np.zeros((per_call, size), bool)
    for place, number in enumerate(numbers):
      rows[place, : len(batches[number])] = batches[number]
      where[place, : len(batches[number])] = True
    results = _solve_chunk(
      passes_lib.Passes(*(x[rows] for x in passes)),
      p_y[rows[:, 0]],
      where,
      num_iterations=options.num_iterations,
      tolerance=_TOLERANCE if len(batches) == 1 else _TOLERANCE_OF_BATCH,
    )
    results = jax.tree.map(np.asarray, results)
    return [
      jax.tree.map(lambda x, place=place: x[place], results)
      for place in range(len(numbers))
    ]

  # A problem is too small for several cores; several problems are not.
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for (_, _, numbers), results in zip(
      calls, _counted(pool.map(solve, calls), len(calls)), strict=True
    ):
      for number, one in zip(numbers, results, strict=True):
        solved[number] = one
  return solved


def _counted(results, total):
  """Yields results, and says from time to time how many there are."""
  last = time.monotonic()
  for number, result in enumerate(results, 1):
    if time.monotonic() - last > _SECONDS_PER_LINE:
      last = time.monotonic()
      logging.info("decomposed %.0f %% of the batches", 100 * number / total)
    yield result


def _padded_size(number, batch_size):
  """Returns a size of few different ones, each of which is compiled."""
  return min(max(_LEAST_SIZE, 1 << (number - 1).bit_length()), batch_size)


@functools.partial(jax.jit, static_argnames="num_iterations")
def _solve_chunk(passes, p_y, where, *, num_iterations, tolerance):
  """Decomposes batches `[K, n, C]` with P(Y) `[K, C]`, one after the other."""

  def solve(batch):
    passes, p_y, where = batch
    atoms = passes_lib.decompose(
      passes,
      p_y,
      where,
      num_iterations=num_iterations,
      tolerance=tolerance,
    )
    distances = [jnp.stack(passes_lib.distance(x, p_y, where)) for x in passes]
    return _Solved(atoms, jnp.stack(distances))

  return jax.lax.map(solve, (passes, p_y, where))


_ANSWERS: Callable = jax.jit(
  passes_lib.decompose_answers, static_argnames=("num_options", "num_shuffles")
)
_RAISE, _DISTANCE = (
  jax.jit(f) for f in (passes_lib.raise_floor, passes_lib.distance)
)
