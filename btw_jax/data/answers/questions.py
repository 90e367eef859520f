"""The questions of a file, and the steps that all readers share."""

from collections.abc import Mapping, Sequence
import dataclasses
import sys
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import read_options
from btw_jax.data.answers import scores

# Longer texts are questions or pictures, by which nothing is grouped.
_LONGEST = 100
# Questions with more different answers than this have no common classes.
_MOST_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Questions:
  """The questions of a file under one condition, apart from the answers.

  Attributes:
    file: the file, and the part of it, for messages.
    ids: `[N]` ids.
    places: `[N]` the places in the file, such as "line 3".
    name: name of the condition; empty if the file does not tell.
    labels: `[N]` int, position of the right option, or `NONE`; None if the file
      has no labels.
    texts: `[N]` the texts of each question's options; None if unknown.
    names: names of the options if all questions share them.
    columns: name -> `[N]` texts by which questions can be grouped.
    notes: one sentence for each decision of the reader.
  """

  file: str
  ids: Sequence[str]
  places: Sequence[str]
  name: str = ""
  labels: np.ndarray | None = None
  texts: Sequence[Sequence[str]] | None = None
  names: Sequence[str] = ()
  columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()

  def where(self, row: int) -> str:
    """Returns the file and the place of a question."""
    return f"{self.file}: {self.places[row]}"

  def scored(
    self,
    values: np.ndarray,
    options: read_options.ReadOptions,
    lengths: np.ndarray | None = None,
    decisions: np.ndarray | None = None,
  ) -> conditions.Condition:
    """Returns the condition with scores `[N, C]`, see `scores.normalise`.

    The decisions `[N]` are those of `scores.decide` by default.
    """
    self._check()
    normalised = scores.normalise(values, options, self.where, lengths)
    notes = normalised.notes
    if decisions is None:
      decisions = scores.decide(normalised.log_probs)
      notes = [*notes, *scores.count_even(decisions)]
    return self._condition(
      normalised.num_options,
      decisions,
      notes,
      log_probs=normalised.log_probs,
    )

  def decided(
    self, decisions: np.ndarray | None, num_options: np.ndarray
  ) -> conditions.Condition:
    """Returns the condition with decisions `[N]` only; None if it has none.

    `num_options` `[N]` is 0 where it is unknown.
    """
    self._check()
    if decisions is None:
      decisions = np.full(len(self.ids), conditions.NONE)
    unread = int(np.sum(decisions == conditions.NONE))
    if unread == len(decisions):
      raise errors.InputError(
        f"{self.where(0)}: neither this answer nor another one of the file"
        " names an option: give answers as letters or as texts of options."
      )
    note = f"{unread} of {len(decisions)} answers name no option"
    return self._condition(num_options, decisions, [note] if unread else [])

  def _check(self):
    """Checks that there are questions, with ids that are different."""
    if not len(self.ids):
      raise errors.InputError(
        f"{self.file}: holds no question: give a file with answers."
      )
    if "" in self.ids:
      raise errors.InputError(
        f"{self.where(list(self.ids).index(''))} has no id: give each question"
        " an id."
      )
    if len(set(self.ids)) == len(self.ids):
      return
    first = {}
    for row, name in enumerate(self.ids):
      if name in first:
        raise errors.InputError(
          f"{self.where(row)} has the id {name!r}, which"
          f" {self.places[first[name]]} has too: give each question once per"
          " condition."
        )
      first[name] = row

  def _condition(self, num_options, decisions, notes, log_probs=None):
    labels, more = self.labels, []
    if labels is not None:
      more = count_note(
        int(np.sum(labels == conditions.NONE)), len(labels),
        "have no label, or one that names no option",
      )  # fmt: skip
      labels = labels if np.any(labels != conditions.NONE) else None
    return conditions.Condition(
      self.name, self.file, self.ids, num_options, decisions, log_probs, labels,
      self.texts, self.names, None, self.columns,
      (*self.notes, *notes, *more),
    )  # fmt: skip


class Columns:
  """Collects the fields by which questions can be grouped.

  Fields with lists, fractions or long texts are left out, for all questions.
  """

  def __init__(self, skip: Sequence[str] = ()):
    """Starts without questions; `skip` names fields that are left out."""
    self._skip, self._values, self._count = set(skip), {}, 0

  def add(self, fields: Mapping[str, Any]) -> None:
    """Adds the fields of the next question."""
    for name, value in fields.items():
      if name in self._skip:
        continue
      text = "" if value is None else value
      if not isinstance(text, str | int) or len(str(text)) > _LONGEST:
        self._skip.add(name)
        self._values.pop(name, None)
        continue
      column = self._values.setdefault(name, [])
      column.extend([""] * (self._count - len(column)))
      # Groups repeat: one text in memory serves all of them.
      column.append(sys.intern(str(text)))
    self._count += 1

  def finish(self) -> dict[str, list[str]]:
    """Returns name -> `[N]` texts."""
    for column in self._values.values():
      column.extend([""] * (self._count - len(column)))
    return self._values


def shared_names(labels: Sequence[Any]) -> tuple[str, ...]:
  """Returns the options of questions such as "yes" or "no", if there are any.

  A file with labels that are words and without options has the different
  labels as the options of all its questions. Letters are no words.
  """
  words = {choices.plain(str(label)) for label in labels if label is not None}
  words.discard("")
  are_words = all(len(word) > 1 and not word.isdigit() for word in words)
  few = 2 <= len(words) <= _MOST_CLASSES
  return tuple(sorted(words)) if few and are_words else ()


def read_count(where: str, value: Any) -> int:
  """Returns the number of options that a field tells; 0 if it is missing.

  Raises:
    InputError: with the place `where`, if it is no number from 2 on.
  """
  if value is None:
    return 0
  if not isinstance(value, int) or value < 2:
    raise errors.InputError(
      f"{where}: 'num_options' is {value!r}: give a whole number from 2 on."
    )
  return value


def count_note(count: int, total: int, what: str) -> list[str]:
  """Returns a note about `count` of `total` questions, none if it is 0."""
  return [f"{count} of {total} questions {what}"] if count else []
