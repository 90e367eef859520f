"""Interactions (PID) of two sources behind the decisions of a model."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax.analysis import interference
from btw_jax.analysis import passes as passes_lib
from btw_jax.analysis import pid
from btw_jax.data.answers import conditions
from btw_jax.pipeline.audit import batches as batches_lib
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import quality
from btw_jax.pipeline.audit import roles

# All fields but the gap.
ATOMS = pid.Decomposition._fields[:-1]
# Values of a column of tasks, and the least number of questions of a task.
_MOST_TASKS, _LEAST_QUESTIONS = 100, 8
# The table of hard answers has the third power of this as its number of cells.
_MOST_ANSWERS = 32


class Interaction(NamedTuple):
  """The decomposition of a set of questions.

  Attributes:
    row: a row for JSON.
    atoms: `[N]` atoms of each question, NaN where it was left out; None for
      hard answers.
  """

  row: Mapping[str, Any]
  atoms: pid.Decomposition | None


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
  """Returns the answers in which truncated options have all they could have.

  They are normalised where they are decomposed.
  """
  log_probs = {**answers.log_probs, **answers.ceilings}
  return dataclasses.replace(answers, log_probs=log_probs)


def _of_answers(answers, names, options):
  """Decomposes the table of hard answers."""
  decisions = np.stack([answers.decisions[name] for name in names])
  decisions = decisions[:, np.all(decisions != conditions.NONE, axis=0)]
  details = {"kind": "answers", "num_answered": decisions.shape[1]}
  given, decisions = np.unique(decisions, return_inverse=True)
  if decisions.shape[1] < _LEAST_QUESTIONS:
    need = f"{_LEAST_QUESTIONS} or more questions that all conditions answer"
    return details | {"atoms": None, "lacking": need}
  if len(given) > _MOST_ANSWERS:
    need = f"probabilities: there are {len(given):,} different answers"
    return details | {"atoms": None, "lacking": need}
  shuffled = _ANSWERS(
    *map(jnp.asarray, decisions),
    jax.random.key(options.seed),
    num_options=len(given),
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
  """Decomposes probabilities in batches; returns details and `[N]` atoms."""
  controls = np.zeros(len(answers), int)
  if is_controlled and options.control:
    values = column(answers, "control", options.control)
    controls = np.unique(values, return_inverse=True)[1]
  passes = _read_passes(answers, names)
  batch_size = min(
    options.batch_size, batches_lib.largest_size(len(answers.option_names))
  )
  batches = batches_lib.draw(passes, controls, batch_size, options.seed)
  details = {
    "kind": "probabilities",
    "num_answered": sum(map(len, batches)),
    "num_batches": len(batches),
    "batch_size": max(map(len, batches), default=0),
    "num_controls": int(controls.max()) + 1,
  }
  left_out = len(answers) - details["num_answered"]
  if left_out:
    logging.warning(
      "--control=%s: %d of %d questions are the only ones with their control,"
      " and are left out of interactions",
      options.control, left_out, len(answers),
    )  # fmt: skip
  if not batches:
    need = "two or more questions with the same control"
    return details | {"atoms": None, "lacking": need}, None
  solved = batches_lib.solve(
    passes, controls, batches, num_iterations=options.num_iterations
  )
  intervals = _intervals(answers, solved.atoms, options)
  details["atoms"] = {
    atom: {
      "mean": float(solved.shares @ values),
      "spread": _spread(values, solved.shares),
      "interval": interval.tolist(),
    }
    for atom, values, interval in zip(
      ATOMS, solved.means, intervals, strict=True
    )
  }
  details["gap"] = float(solved.shares @ solved.gaps)
  details["distance"] = {
    role: {"nats": float(nats), "total_variation": float(variation)}
    for role, (nats, variation) in zip(
      ("first", "second"), solved.distances, strict=True
    )
  }
  return details, pid.Decomposition(*solved.atoms, details["gap"])


def _read_passes(answers, names):
  """Returns the passes `[N, C]`, in which every offered option is possible."""
  offered = np.arange(len(answers.option_names)) < answers.num_options[:, None]
  return passes_lib.Passes(
    *(
      np.asarray(_RAISE(np.asarray(answers.log_probs[n], np.float32), offered))
      for n in names
    )
  )


def _intervals(answers, atoms, options):
  """Returns the `[4, 2]` bootstrap intervals of the means of atoms `[4, N]`.

  To first order, the atoms of a question are its influence on their means.
  """
  counted = ~np.isnan(atoms[0])
  groups = None
  if options.group:
    groups = column(answers, "group", options.group)[counted]
  return interference.interval(
    atoms[:, counted], num_resamples=options.num_resamples, groups=groups
  )


def _spread(values, shares):
  """Returns the standard deviation over batches; None for a single one."""
  if len(values) < 2:
    return None
  variance = shares @ (values - shares @ values) ** 2
  return float(np.sqrt(variance * len(values) / (len(values) - 1)))


_ANSWERS: Callable = jax.jit(
  passes_lib.decompose_answers, static_argnames=("num_options", "num_shuffles")
)
_RAISE = jax.jit(passes_lib.raise_floor)
