"""Conditions of several files, joined by the ids of the questions."""

from collections.abc import Sequence
import dataclasses
import re

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions as conditions_lib
from btw_jax.data.answers import option_order

# Names of the condition in which the model was shown everything, best first.
REFERENCES = (
  "both", "all", "full", "everything", "multimodal", "fusion", "fused", "joint",
)  # fmt: skip
_NAME = re.compile(r"[\w.+-]+", re.ASCII)
_NONE = conditions_lib.NONE


def join(
  conditions: Sequence[conditions_lib.Condition],
) -> conditions_lib.Answers:
  """Joins conditions to one set of answers.

  The questions have the order of the reference: the condition with a name of
  `REFERENCES`, else the first one. Questions that a condition lacks are left
  out. Options in another order than those of the reference are put into its
  order, by their texts or names.

  Raises:
    InputError: if names repeat, no question is in all conditions, or options or
      labels contradict each other.
  """
  conditions = _name(conditions)
  reference = next(
    (c for c in conditions if c.name.lower() in REFERENCES), conditions[0]
  )
  rows, notes = _match(conditions, reference)
  taken = {c.name: _take(c, r) for c, r in zip(conditions, rows, strict=True)}
  reference = taken[reference.name]
  aligned, count = {}, _counts(list(taken.values()), reference)
  taken = {
    name: dataclasses.replace(c, num_options=count) for name, c in taken.items()
  }
  told = option_order.reference_of([taken[reference.name], *taken.values()])
  for name, condition in taken.items():
    aligned[name], more = option_order.align(condition, told)
    notes += more
  ordered = [aligned[reference.name], *aligned.values()]
  labels = _labels(ordered)
  notes += _sign_note(aligned[reference.name], labels, count)
  for condition in reversed(conditions):
    place = f"{condition.name}: " if len(conditions) > 1 else ""
    notes = [*(f"{place}{note}" for note in condition.notes), *notes]
  width = int(count.max())
  return conditions_lib.Answers(
    ids=np.asarray(reference.ids, str),
    num_options=count,
    option_names=option_order.names(told, width),
    decisions={name: c.decisions for name, c in aligned.items()},
    log_probs=_widen({n: c.log_probs for n, c in aligned.items()}, width),
    ceilings=_widen({n: c.ceiling for n, c in aligned.items()}, width),
    labels=labels,
    columns=_columns(ordered),
    files={name: c.file for name, c in aligned.items()},
    notes=tuple(dict.fromkeys(notes)),
  )


def check_name(source: str, name: str) -> None:
  """Raises `InputError`, which names the source, if a name is wrong.

  A name has letters, digits and `_ - + .` only.
  """
  if not _NAME.fullmatch(name):
    raise errors.InputError(
      f"{source}: the condition is called {name!r}: use letters, digits and"
      " _ - + . in names, as in --input=both=FILE,vision=FILE."
    )


def _name(conditions):
  """Returns the conditions with names; checks the names."""
  if not conditions:
    raise errors.InputError("--input: names no file: give a file with answers.")
  if len(conditions) == 1 and not conditions[0].name:
    conditions = [dataclasses.replace(conditions[0], name="both")]
  files = {}
  for condition in conditions:
    name = condition.name
    check_name(condition.file, name)
    if name in files:
      raise errors.InputError(
        f"{condition.file}: the condition {name!r} is in {files[name]} too:"
        " give each condition once, under its own name."
      )
    files[name] = condition.file
  return list(conditions)


def _match(conditions, reference):
  """Returns the rows of the shared questions of each condition, and notes."""
  if all(list(c.ids) == list(reference.ids) for c in conditions):
    return [slice(None)] * len(conditions), []
  places = [{name: row for row, name in enumerate(c.ids)} for c in conditions]
  shared = [name for name in reference.ids if all(name in p for p in places)]
  if not shared:
    other = next(
      c for c, p in zip(conditions, places, strict=True)
      if not set(p) >= set(reference.ids)
    )  # fmt: skip
    raise errors.InputError(
      f"{other.file}: no id of it ({_first(other.ids)}) is in all files, such"
      f" as {reference.file} ({_first(reference.ids)}): give files with answers"
      " to the same questions."
    )
  known, notes = set(shared), []
  for condition in conditions:
    left = [name for name in condition.ids if name not in known]
    if left:
      notes.append(
        f"{len(left)} of {len(condition.ids)} questions of {condition.file} are"
        f" left out, because not all files have them: {_first(left)}"
      )
  return [np.array([p[name] for name in shared]) for p in places], notes


def _first(ids):
  return ", ".join(list(ids)[:3]) + (", ..." if len(ids) > 3 else "")


def _take(condition, rows):
  """Returns a condition with some of its questions, in a given order."""
  if isinstance(rows, slice):
    return condition

  def pick(values):
    return None if values is None else [values[row] for row in rows]

  def index(values):
    return None if values is None else values[rows]

  return dataclasses.replace(
    condition,
    ids=pick(condition.ids),
    num_options=index(condition.num_options),
    decisions=index(condition.decisions),
    log_probs=index(condition.log_probs),
    labels=index(condition.labels),
    option_texts=pick(condition.option_texts),
    ceiling=index(condition.ceiling),
    columns={name: pick(v) for name, v in condition.columns.items()},
  )


def _counts(conditions, reference):
  """Returns the number of options `[N]`, which all conditions must share.

  A condition that does not tell it has 0; if none does, it is the largest
  position of a decision or label, plus one.
  """
  count = np.zeros(len(reference.ids), int)
  for condition in [reference, *conditions]:
    offered = np.asarray(condition.num_options)
    wrong = (offered != count) & (offered > 0) & (count > 0)
    if wrong.any():
      row = int(np.argmax(wrong))
      raise errors.InputError(
        f"{condition.file}: the question {condition.ids[row]!r} has"
        f" {offered[row]} options, but {count[row]} in {reference.file}: give"
        " answers to the same questions."
      )
    count = np.where(count > 0, count, offered)
  seen = [c.decisions for c in conditions]
  seen += [c.labels for c in conditions if c.labels is not None]
  most = max(2, max(int(values.max()) for values in seen) + 1)
  return np.where(count > 0, count, most)


def _labels(ordered):
  """Returns the labels `[N]`, checked against each other, or None."""
  labels, source = None, None
  for condition in ordered:
    others = condition.labels
    if others is None:
      continue
    if labels is None:
      labels, source = others, condition
      continue
    both = (others != _NONE) & (labels != _NONE)
    for row in np.flatnonzero(both & (others != labels))[:1]:
      raise errors.InputError(
        f"{condition.file}: the label of question {condition.ids[row]!r} is"
        f" {choices.letter(others[row])}, but {choices.letter(labels[row])} in"
        f" {source.file}: give answers to the same questions."
      )
    labels = np.where(labels == _NONE, others, labels)
  return labels


def _sign_note(condition, labels, count):
  """Warns of scores that would be right more often with the other sign.

  Only the reference is asked: misleading inputs make decisions wrong.
  """
  x = condition.log_probs
  if x is None or labels is None or condition.ceiling is not None:
    return []
  known = labels != _NONE
  present = np.arange(x.shape[1]) < count[:, None]
  least = np.where(present, x, np.inf).argmin(1)
  right = np.mean(condition.decisions[known] == labels[known])
  reversed_right = np.mean(least[known] == labels[known])
  chance = 1 / count[known]
  error = np.sqrt(np.sum(chance * (1 - chance))) / known.sum()
  if right >= reversed_right or right >= chance.mean() - 3 * error:
    return []
  return [
    f"{condition.name}: {right:.3f} of the decisions are right, fewer than by"
    f" chance ({chance.mean():.3f}) and with the other sign"
    f" ({reversed_right:.3f}): if {condition.file} holds losses, set"
    " --sign=loss"
  ]


def _columns(ordered):
  """Returns name -> `[N]` texts, of the first condition that has the column."""
  columns = {}
  for condition in ordered:
    for name, values in condition.columns.items():
      columns.setdefault(name, np.asarray(values, str))
  return columns


def _widen(values, width):
  """Returns name -> `[N, width]`, without what is None.

  Further options, which no question of the condition has, are impossible.
  """
  result = {}
  for name, x in values.items():
    if x is not None:
      missing = max(width - x.shape[1], 0)
      padded = np.pad(x, ((0, 0), (0, missing)), constant_values=-np.inf)
      result[name] = padded[:, :width]
  return result
