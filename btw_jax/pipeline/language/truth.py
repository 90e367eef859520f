"""The sources of each task, and the atoms of an answerer that is always right.

Open questions have a table of both sources and the answer. For questions with
options to choose from, the answer is a letter. A letter is as likely for one
image as for another, hence R and U1 are 0, and a text tells as much as the
answers that it leaves possible.
"""

from collections.abc import Sequence
import itertools
import math
from typing import NamedTuple

import jax
import numpy as np

from btw_jax.analysis import pid
from btw_jax.data.questions import question_set
from btw_jax.data.questions import tasks as tasks_lib

TEXT, IMAGE, AUDIO = range(3)


class Sources(NamedTuple):
  """The two sources of a decision, as positions of modalities.

  Attributes:
    first: the first source.
    second: the second source.
    control: the modality that is held fixed (Sensory PID), or None.
  """

  first: int
  second: int
  control: int | None = None

  def condition(self, modality: int) -> str:
    """Returns the name of the pass that shows one source and the control."""
    shown = [modality] if self.control is None else [modality, self.control]
    return "+".join(tasks_lib.MODALITIES[m] for m in shown)

  def __str__(self) -> str:
    """Names the sources, for tables."""
    names = [tasks_lib.MODALITIES[m] for m in (self.first, self.second)]
    given = ""
    if self.control is not None:
      given = f" given {tasks_lib.MODALITIES[self.control]}"
    return ", ".join(names) + given


class Truth(NamedTuple):
  """The joint of the sources and the right answer of an open question.

  Attributes:
    sources: the two sources, and the control.
    joint: `[V1, V2, C]` probabilities of both latents and the answer.
    codes: the position in `joint` of each latent of the first source, and of
      the second one. Latents that always have the same answer share one:
      "two plus five" and "three plus four".
  """

  sources: Sources
  joint: np.ndarray
  codes: tuple[np.ndarray, np.ndarray]

  def strata(
    self, questions: question_set.QuestionSet
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions in `joint` of both sources, `[N]` each."""
    first, second = (
      codes[latents(questions, modality)]
      for codes, modality in zip(self.codes, self.sources[:2], strict=True)
    )
    return first, second


def sources(task: str) -> Sources:
  """Returns the sources of a task.

  Questions with an image and a sound whose text does not tell the answer have
  the text as control, but for those about the sound alone.
  """
  if not tasks_lib.TASKS[task].has_audio:
    return Sources(IMAGE, TEXT)
  if task == "spoken":
    return Sources(AUDIO, TEXT)
  return Sources(IMAGE, AUDIO, TEXT)


def is_open(task: str) -> bool:
  """Returns True if a task has no options to choose from."""
  return not tasks_lib.TASKS[task].num_choices


def num_options(task: str) -> int:
  """Returns the number of options of a question."""
  of_task = tasks_lib.TASKS[task]
  return of_task.num_choices or len(of_task.answers)


def latents(questions: question_set.QuestionSet, modality: int) -> np.ndarray:
  """Returns what a modality says, `[N]` int; 0 if that never varies."""
  of_modality = (questions.parameter, questions.shown, questions.spoken)
  return np.maximum(of_modality[modality], 0)


def make(task: str) -> Truth:
  """Returns the truth of an open task."""
  of_task, joint = sources(task), tasks_lib.truth(task)
  codes = np.arange(joint.shape[1])
  if of_task.second == TEXT:
    joint, codes = _merge(joint)
  elif len(codes) == 1:
    # The sound of a question about the image says any digit.
    joint, codes = np.repeat(joint, 10, axis=1) / 10, np.arange(10)
  return Truth(of_task, joint, (np.arange(len(joint)), codes))


def atoms(tasks: Sequence[str]) -> dict[str, np.ndarray]:
  """Returns task -> its atoms R, U1, U2 and S, `[4]` nats."""
  of_tasks = {t: _choice_atoms(t) for t in tasks if not is_open(t)}
  joints = {t: make(t).joint for t in tasks if is_open(t)}
  if not joints:
    return of_tasks
  # Tables of one shape are solved by one program; zeros change nothing.
  shape = np.max([joint.shape for joint in joints.values()], axis=0)
  tables = np.zeros((len(joints), *shape), np.float32)
  for table, joint in zip(tables, joints.values(), strict=True):
    table[tuple(map(slice, joint.shape))] = joint
  solved = np.stack(_BROJA(tables, num_iterations=1000)[:4], axis=1)
  return of_tasks | dict(zip(joints, solved, strict=True))


def _merge(joint):
  """Merges values of the second source that always have the same answers.

  Returns the joint, and the `[V2]` positions of the values in it.
  """
  pairs = joint.sum(axis=-1, keepdims=True)
  answers = np.argmax(joint / pairs, axis=-1)
  kinds, codes = np.unique(answers, axis=1, return_inverse=True)
  codes = codes.ravel()
  merged = np.zeros((len(joint), kinds.shape[1], joint.shape[-1]))
  np.add.at(merged, (slice(None), codes), joint)
  return merged, codes


def _choice_atoms(task):
  """Returns the atoms `[4]` of a task with options to choose from, in nats.

  The offered answers are the right one and a uniform choice of wrong ones. Text
  and offer leave the answers as likely as the text alone, among those offered.
  """
  num_choices = tasks_lib.TASKS[task].num_choices
  by_text = tasks_lib.truth(task).sum(axis=0)
  num_answers = by_text.shape[1]
  offers = np.array(
    list(itertools.combinations(range(num_answers), num_choices))
  )
  # An offer is drawn with the probability of its answers over this number.
  num_offers = math.comb(num_answers - 1, num_choices - 1)
  of_text = 0.0
  for probs in by_text:
    offered = probs[offers]
    total = np.sum(offered, axis=1, keepdims=True)
    # An answer that the text excludes adds nothing.
    shares = np.where(offered > 0, offered / np.where(total > 0, total, 1), 1)
    of_text += np.sum(offered * np.log(num_choices * shares)) / num_offers
  return np.array([0.0, 0.0, of_text, math.log(num_choices) - of_text])


_BROJA = jax.jit(pid.broja, static_argnames="num_iterations")
