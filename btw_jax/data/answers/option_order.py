"""Options in the order of a reference, matched by their texts or names."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions

_NONE = conditions.NONE


def reference_of(
  ordered: Sequence[conditions.Condition],
) -> conditions.Condition:
  """Returns the first condition that tells its options, else the first."""
  told = [c for c in ordered if c.option_texts is not None]
  told += [c for c in ordered if _is_named(c)]
  return (told or ordered)[0]


def align(
  condition: conditions.Condition, reference: conditions.Condition
) -> tuple[conditions.Condition, list[str]]:
  """Returns a condition with its options in the order of a reference.

  Both have the same questions. The options of each question are compared by
  their texts; classes are the texts of all questions. Returns notes too.

  Raises:
    InputError: naming the first question whose options are not the same.
  """
  texts, wanted = _texts(condition), _texts(reference)
  if texts is None and wanted is not None:
    return condition, [
      f"{condition.file} does not tell the texts of options; they are taken to"
      " be in the order of the other files"
    ]
  if texts is None or wanted is None:
    return condition, []
  moved = _find_moved(condition, reference, texts, wanted)
  count = sum(map(len, moved.values()))
  if not count:
    return condition, []
  return _permute(condition, moved), [
    f"{condition.name}: the options of {count} of {len(condition.ids)}"
    f" questions are in another order than in {reference.file}; they are"
    " matched by their texts"
  ]


def names(reference: conditions.Condition, width: int) -> tuple[str, ...]:
  """Returns the names of C options, or letters."""
  texts = reference.option_texts
  if texts is None and _is_named(reference):
    texts = [tuple(reference.option_names)]
  if texts and len(texts[0]) == width and all(t == texts[0] for t in texts):
    return tuple(texts[0])
  return choices.letters(width)


def _is_named(condition):
  """Returns True if the options have names that are not their letters."""
  known = tuple(condition.option_names)
  return bool(known) and known != choices.letters(len(known))


def _texts(condition):
  """Returns the texts of the options `[N]`; None if they are unknown."""
  if condition.option_texts is not None or not _is_named(condition):
    return condition.option_texts
  classes = tuple(condition.option_names)
  return [classes[:n] for n in condition.num_options]


def _find_moved(condition, reference, own_texts, wanted_texts):
  """Returns order -> rows of the questions that have another order."""
  moved = {}
  for row, (texts, wanted) in enumerate(
    zip(own_texts, wanted_texts, strict=True)
  ):
    if texts != wanted and texts and wanted:
      order = _order(condition, reference, row, texts, wanted)
      moved.setdefault(order, []).append(row)
  return moved


def _order(condition, reference, row, texts, wanted):
  """Returns, for each option of the reference, its position in `texts`."""
  places = {}
  for place, text in enumerate(texts):
    places.setdefault(text.strip(), []).append(place)
  try:
    order = tuple(places[text.strip()].pop(0) for text in wanted)
  except (KeyError, IndexError):
    order = ()
  if len(order) != len(texts):
    raise errors.InputError(
      f"{condition.file}: the options of question {condition.ids[row]!r} are"
      f" {_quote(texts)}, but {_quote(wanted)} in {reference.file}: give"
      " answers to the same questions."
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
