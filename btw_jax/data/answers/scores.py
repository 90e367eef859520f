"""Normalised log-probabilities from the scores that files hold."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import read_options

# A sum of printed probabilities may differ from 1 by their rounding.
_TOLERANCE = 1e-3
_ROUNDING = 1e-6


class Normalised(NamedTuple):
  """Normalised scores.

  Attributes:
    log_probs: `[N, C]` log-probabilities; −inf where a question has no option.
    num_options: `[N]` the number of options of each question.
    notes: one sentence for each decision.
  """

  log_probs: np.ndarray
  num_options: np.ndarray
  notes: tuple[str, ...]


def pad(rows: Sequence[Sequence[float]]) -> np.ndarray:
  """Returns rows of different lengths as `[N, C]`, with NaN at their ends."""
  counts = np.array([len(row) for row in rows], int)
  values = np.full((len(rows), counts.max(initial=0)), np.nan)
  present = np.arange(values.shape[1]) < counts[:, None]
  values[present] = [value for row in rows for value in row]
  return values


def read_numbers(values: Sequence[Any], where: str) -> tuple[float, ...]:
  """Returns numbers, or their texts, as floats.

  Raises:
    InputError: with the place `where`, if one of them is not a number.
  """
  try:
    numbers = tuple(float(value) for value in values)
  except (TypeError, ValueError):
    numbers = (np.nan,)
  if any(number != number for number in numbers):
    shown = ", ".join(str(value) for value in values[:6])
    raise errors.InputError(
      f"{where} has scores that are not all numbers ({shown}): give one number"
      " per option."
    )
  return numbers


def decide(log_probs: np.ndarray) -> np.ndarray:
  """Returns the decisions `[N]`: the likeliest option of `[N, C]`.

  A question whose options are all equally likely has none, `conditions.NONE`.
  """
  offered = log_probs > -np.inf
  least = np.where(offered, log_probs, np.inf).min(axis=1)
  is_even = (least == log_probs.max(axis=1)) & (offered.sum(axis=1) > 1)
  return np.where(is_even, conditions.NONE, log_probs.argmax(axis=1))


def count_even(decisions: np.ndarray) -> list[str]:
  """Returns a note on questions without a decision, if there are any."""
  number = int(np.sum(decisions == conditions.NONE))
  if not number:
    return []
  return [
    f"{number} of {len(decisions)} questions have equally likely options, and"
    " no decision"
  ]


def normalise(
  values: np.ndarray,
  options: read_options.ReadOptions,
  where: Callable[[int], str],
  lengths: np.ndarray | None = None,
) -> Normalised:
  """Returns the log-probabilities of the options of each question.

  Args:
    values: `[N, C]` scores; NaN at the end of a row marks options that the
      question does not have.
    options: `scores`, `sign` and `length` are used.
    where: row -> the file and the place in it, for messages.
    lengths: `[N, C]` lengths of the option texts in the unit of
      `options.length` (characters for "none"), NaN as in `values`; None if the
      texts are unknown.

  Raises:
    InputError: naming the first wrong row.
  """
  values = np.asarray(values, np.float64)
  present = _check_present(values, where)
  x = np.where(present, values, 0.0)
  if options.sign == "loss":
    x = -x
  kind = options.scores
  notes = []
  if kind == "auto":
    kind = _recognise(x, present, where)
    if kind == "logits":
      notes = ["the scores are read as logits, since they do not sum to 1"]
  if kind == "log_likelihoods":
    if options.sign == "auto":
      _check_sign(x, present, where)
    x, more = _divide(x, present, lengths, options.length, where)
    notes += more
  elif options.length != "none":
    raise errors.InputError(
      f"--length={options.length}: only log-likelihoods are divided by lengths,"
      f" but {where(0)} holds {kind.replace('_', ' ')}: leave the flag out, or"
      " set --scores=log_likelihoods."
    )
  if kind == "probabilities":
    # Models round a probability of 0 to a tiny number below it.
    x = np.where((x < 0) & (x > -_ROUNDING), 0.0, x)
    _check_probabilities(x, present, where)
    with np.errstate(divide="ignore"):
      x = np.log(x)
  elif kind == "log_probabilities":
    _check_sums(np.exp(x), present, where, "exp of its log-probabilities")
  x = np.where(present, x, -np.inf)
  _check_possible(x, where)
  log_probs = x - special.logsumexp(x, axis=1, keepdims=True)
  return Normalised(log_probs, present.sum(1), tuple(notes))


def _check_present(values, where):
  """Returns the mask `[N, C]` of the options that each question has."""
  present = ~np.isnan(values)
  for row in np.flatnonzero(~present.any(1))[:1]:
    raise errors.InputError(
      f"{where(row)} has no score of any option: give one score per option."
    )
  gap = present[:, 1:] & ~present[:, :-1]
  for row in np.flatnonzero(gap.any(1))[:1]:
    missing = choices.letter(int(np.argmin(present[row])))
    raise errors.InputError(
      f"{where(row)} has no score of option {missing}, but of a later option:"
      " give all scores; only the last options of a question may be missing."
    )
  for row in np.flatnonzero((values == np.inf).any(1))[:1]:
    raise errors.InputError(
      f"{where(row)} has an infinite score: give finite numbers."
    )
  return present


def _recognise(x, present, where):
  """Returns the kind of the scores `x` `[N, C]` of a whole file."""
  within = np.where(present, x, 0.0)
  if np.all(np.abs(within.sum(1) - 1) <= _TOLERANCE):
    # A sum of 1 in every row is no chance: negative ones are wrong.
    return "probabilities"
  if np.all(within >= 0):
    if np.all(within <= 1):
      _check_sums(within, present, where, "scores, all from 0 to 1,")
  elif np.all(within <= 0):
    sums = np.where(present, np.exp(x), 0.0).sum(1)
    if np.all(np.abs(sums - 1) <= _TOLERANCE):
      return "log_probabilities"
  return "logits"


def _check_probabilities(x, present, where):
  """Checks that probabilities `[N, C]` are not negative and sum to 1."""
  for row in np.flatnonzero((present & (x < 0)).any(1))[:1]:
    raise errors.InputError(
      f"{where(row)} has the negative probability {x[row].min():g}: give"
      " probabilities, or set --scores=logits."
    )
  _check_sums(x, present, where, "probabilities")


def _check_sums(probs, present, where, name):
  sums = np.where(present, probs, 0.0).sum(1)
  for row in np.flatnonzero(~(np.abs(sums - 1) <= _TOLERANCE))[:1]:
    raise errors.InputError(
      f"{where(row)}: the sum of the {name} is {sums[row]:.6g}, not 1: give"
      " probabilities of all options, or set --scores=logits."
    )


def _check_possible(x, where):
  for row in np.flatnonzero(np.all(x == -np.inf, axis=1))[:1]:
    raise errors.InputError(
      f"{where(row)} gives every option the probability 0: give a finite score"
      " to one option at least."
    )


def _check_sign(x, present, where):
  """Refuses log-likelihoods that look like losses."""
  if np.all(x[present] >= 0) and np.any(x[present] > 0):
    raise errors.InputError(
      f"{where(0)}: all log-likelihoods of the file are positive, so they are"
      " probably losses: set --sign=loss to negate them, or --sign=likelihood"
      " to keep them."
    )


def _divide(x, present, lengths, unit, where):
  """Divides log-likelihoods by lengths; returns them and the notes."""
  differ = lengths is not None and np.any(
    np.nanmax(lengths, axis=1) != np.nanmin(lengths, axis=1)
  )
  if unit == "none":
    note = (
      "log-likelihoods are sums over the tokens of an option, and the options"
      " differ in length; --length=characters divides by it"
    )
    return x, [note] if differ else []
  if lengths is None:
    raise errors.InputError(
      f"--length={unit}: {where(0)} has no texts of the options, so their"
      " lengths are unknown: leave the flag out, or give a file with texts."
    )
  empty = (present & (lengths == 0)).any(1)
  for row in np.flatnonzero(empty)[:1]:
    raise errors.InputError(
      f"{where(row)} has an option without text, of length 0: leave out"
      f" --length={unit}."
    )
  note = f"log-likelihoods are divided by the length of the option in {unit}"
  return x / np.where(present, lengths, 1.0), [note] if differ else []
