"""Options in the order of a reference, matched by their texts or names."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions

_NONE = conditions.NONE


def align(
  condition: conditions.Condition, reference: conditions.Condition
) -> tuple[conditions.Condition, list[str]]:
  """Returns a condition with its options in the order of a reference.

  Both have the same questions. Texts of options are compared for each question;
  if they are unknown, names are compared once. Returns notes too.

  Raises:
    InputError: naming the first question whose options are not the same.
  """
  if condition.option_texts is not None and reference.option_texts is not None:
    moved = _moved_texts(condition, reference)
    count = sum(map(len, moved.values()))
    notes = [
      f"{condition.name}: the options of {count} of {len(condition.ids)}"
      f" questions are in another order than in {reference.file}; they are"
      " matched by their texts"
    ]
  elif _is_named(condition) and _is_named(reference):
    moved = _moved_names(condition, reference)
    notes = [
      f"{condition.name}: the classes are in another order than in"
      f" {reference.file}; they are matched by their names"
    ]
  else:
    return condition, _unmatched(condition, reference)
  if not moved:
    return condition, []
  return _permute(condition, moved), notes


def names(
  ordered: Sequence[conditions.Condition], width: int
) -> tuple[str, ...]:
  """Returns the names of C options, or letters."""
  for condition in ordered:
    if _is_named(condition) and len(condition.option_names) == width:
      return tuple(condition.option_names)
    texts = condition.option_texts
    same = texts is not None and all(text == texts[0] for text in texts)
    if same and len(texts[0]) == width:
      return tuple(texts[0])
  return choices.letters(width)


def _is_named(condition):
  """Returns True if the options have names that are not their letters."""
  known = tuple(condition.option_names)
  return bool(known) and known != choices.letters(len(known))


def _unmatched(condition, reference):
  """Returns a note if only one of two conditions tells its options."""
  told = [
    c.option_texts is not None or _is_named(c) for c in (condition, reference)
  ]
  if told[0] == told[1]:
    return []
  silent = condition if told[1] else reference
  return [
    f"{silent.file} does not tell the texts of options; they are taken to be in"
    " the order of the other files"
  ]


def _moved_texts(condition, reference):
  """Returns order -> rows of the questions that have another order."""
  moved = {}
  pairs = zip(condition.option_texts, reference.option_texts, strict=True)
  for row, (own, wanted) in enumerate(pairs):
    if own != wanted and own and wanted:
      order = _order(condition, reference, row, own, wanted)
      moved.setdefault(order, []).append(row)
  return moved


def _moved_names(condition, reference):
  """Returns order -> rows, which are all rows or none."""
  own, wanted = condition.option_names, reference.option_names
  if tuple(own) == tuple(wanted):
    return {}
  order = _order(condition, reference, 0, own, wanted)
  return {order: list(range(len(condition.ids)))}


def _order(condition, reference, row, own, wanted):
  """Returns, for each option of the reference, its position in `own`."""
  places = {}
  for place, text in enumerate(own):
    places.setdefault(text.strip(), []).append(place)
  try:
    order = tuple(places[text.strip()].pop(0) for text in wanted)
  except (KeyError, IndexError):
    order = ()
  if len(order) != len(own):
    raise errors.InputError(
      f"{condition.file}: the options of question {condition.ids[row]!r} are"
      f" {_quote(own)}, but {_quote(wanted)} in {reference.file}: give answers"
      " to the same questions."
    )
  return order


def _quote(texts):
  shown = " | ".join(" ".join(str(text).split())[:30] for text in texts[:6])
  return f"'{shown}'"


def _permute(condition, moved):
  """Returns a condition with the options of some questions reordered."""
  arrays = {
    name: None if value is None else value.copy()
    for name, value in (
      ("log_probs", condition.log_probs), ("ceiling", condition.ceiling),
      ("decisions", condition.decisions), ("labels", condition.labels),
    )
  }  # fmt: skip
  for order, rows in moved.items():
    n, place = len(order), np.argsort(order)
    for name in ("log_probs", "ceiling"):
      x = arrays[name]
      if x is not None:
        x[np.ix_(rows, range(n))] = x[np.ix_(rows, order)]
    for name in ("decisions", "labels"):
      x = arrays[name]
      if x is not None:
        x[rows] = np.where(x[rows] == _NONE, _NONE, place[x[rows]])
  return dataclasses.replace(condition, **arrays)
