"""Answers of one model to questions, under one or several conditions.

A condition is what the model was shown: everything, one modality, everything
with noise in place of one modality. A question offers C options, of which one
is right. Questions may differ in their number of options: arrays are then
padded to the largest one, and a padded option has log-probability −inf.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

# The decision of a model that gave no answer, and an unknown label.
NONE = -1


@dataclasses.dataclass(frozen=True)
class Condition:
  """The answers under one condition, as a file holds them.

  Attributes:
    name: name of the condition; empty if the file does not tell.
    file: the file, and the part of it, for messages.
    ids: `[N]` ids of the questions, all different.
    num_options: `[N]` int, the number of options of each question; 0 if the
      file does not tell, which only files without probabilities may.
    decisions: `[N]` int, position of the chosen option, or `NONE`.
    log_probs: `[N, C]` float64 log-probabilities of the options, normalised;
      None if the file holds decisions only.
    labels: `[N]` int, position of the right option, or `NONE`; None if the file
      has no labels.
    option_texts: `[N]` the texts of each question's options, empty for a
      question whose texts are unknown; None if all are.
    option_names: names of the C options if all questions share them (classes),
      or letters; conditions are matched by them.
    ceiling: `[N, C]` the largest log-probabilities that a truncated list of
      tokens allows, not normalised: those of listed options as listed. A
      question with the uniform distribution by rule has it here too. None if
      nothing was truncated.
    columns: name -> `[N]` texts by which questions can be grouped, such as
      `image` or `category`.
    notes: one sentence for each thing that the reader decided and a person may
      not expect.
  """

  name: str
  file: str
  ids: Sequence[str]
  num_options: np.ndarray
  decisions: np.ndarray
  log_probs: np.ndarray | None = None
  labels: np.ndarray | None = None
  option_texts: Sequence[Sequence[str]] | None = None
  option_names: Sequence[str] = ()
  ceiling: np.ndarray | None = None
  columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Answers:
  """The answers to N questions under several conditions, joined by id.

  Attributes:
    ids: `[N]` ids of the questions.
    num_options: `[N]` int, the number of options of each question.
    option_names: C names of the options, or letters.
    decisions: condition -> `[N]` int, or `NONE`.
    log_probs: condition -> `[N, C]`; only conditions with probabilities.
    ceilings: condition -> `[N, C]`, of conditions with truncated lists.
    labels: `[N]` int, or `NONE`; None if no file has labels.
    columns: name -> `[N]` texts.
    files: condition -> the file that it was read from.
    notes: one sentence for each thing that was decided while reading.
  """

  ids: np.ndarray
  num_options: np.ndarray
  option_names: Sequence[str]
  decisions: Mapping[str, np.ndarray]
  log_probs: Mapping[str, np.ndarray]
  ceilings: Mapping[str, np.ndarray]
  labels: np.ndarray | None
  columns: Mapping[str, np.ndarray]
  files: Mapping[str, str]
  notes: Sequence[str]

  def __len__(self) -> int:
    """Returns N."""
    return len(self.ids)

  def select(self, rows: np.ndarray) -> "Answers":
    """Returns the answers to the questions at `rows` (numbers, or a mask)."""

    def take(values):
      return {name: value[rows] for name, value in values.items()}

    return dataclasses.replace(
      self,
      ids=self.ids[rows],
      num_options=self.num_options[rows],
      decisions=take(self.decisions),
      log_probs=take(self.log_probs),
      ceilings=take(self.ceilings),
      labels=None if self.labels is None else self.labels[rows],
      columns=take(self.columns),
    )
