"""A stand-in for a language model that gives every answer its true chance."""

import dataclasses

import numpy as np

from btw_jax.data.questions import tasks as tasks_lib
from btw_jax.data.questions import vocabulary as vocabulary_lib
from btw_jax.data.questions import world as world_lib
from btw_jax.pipeline.language import config as config_lib
from btw_jax.pipeline.language import setup as setup_lib

_TEXT, _IMAGE, _AUDIO = range(3)


@dataclasses.dataclass(frozen=True)
class IdealRun:
  """Answers in the place of `run.FinishedRun`.

  The model of a seed is right with the seed's certainty and guesses otherwise.
  It has one layer, before which it guesses.

  Attributes:
    setup: the configuration and the world.
    certainties: one for each seed.
  """

  setup: setup_lib.Setup
  certainties: tuple[float, ...]

  def statistics(self, questions):
    del questions

  def log_probs(
    self, questions, *, masked=(), stats=None, seed=0, layers=False
  ):
    del stats, seed
    ideal = np.zeros(questions.options.shape)
    for name in self.setup.config.chosen_tasks:
      rows = np.flatnonzero(questions.tasks == name)
      if len(rows):
        ideal[rows] = _answer(
          questions.take(rows), name, masked, self.setup.world.vocabulary
        )
    offered = questions.options != vocabulary_lib.PAD
    even = offered / offered.sum(axis=1, keepdims=True)
    probs = np.stack([c * ideal + (1 - c) * even for c in self.certainties])
    if layers:
      probs = np.stack(np.broadcast_arrays(even, probs), axis=2)
    with np.errstate(divide="ignore"):
      return np.log(probs)


def run(certainties=(1.0,), **settings):
  """Returns an ideal run with the given settings."""
  config = config_lib.LanguageConfig(num_seeds=len(certainties), **settings)
  world = world_lib.describe(config.audio)
  return IdealRun(setup_lib.Setup(config, world, None), certainties)


def _answer(questions, name, masked, vocabulary):
  """Returns `[N, K]`: the mean over all values of what is masked."""
  task, number = tasks_lib.TASKS[name], len(questions.tasks)
  probs = np.zeros(questions.options.shape)
  if task.num_choices and _TEXT in masked:
    probs[:, : task.num_choices] = 1 / task.num_choices
    return probs
  ids = np.array([vocabulary[word] for word in task.answers])
  hidden_sound = _AUDIO in masked and task.has_audio
  for shown in range(10) if _IMAGE in masked else [questions.shown]:
    for spoken in range(10) if hidden_sound else [questions.spoken]:
      for parameter in (
        range(task.num_parameters)
        if _TEXT in masked
        else [np.maximum(questions.parameter, 0)]
      ):
        answer = np.broadcast_to(task.answer(shown, spoken, parameter), number)
        if task.num_choices:
          probs[:, : task.num_choices] += (
            _contents(questions, task.num_choices) == ids[answer][:, None]
          )
          continue
        # Half of the digits are the same.
        weight = np.where(answer, 9.0, 1.0) if name == "same" else 1.0
        probs[np.arange(number), answer] += weight
  return probs / probs.sum(axis=1, keepdims=True)


def _contents(questions, num_choices):
  """Returns the tokens `[N, C]` after the letters of the options."""
  contents = []
  for tokens in questions.tokens:
    text = [token for token in tokens if token != vocabulary_lib.PAD]
    # The text ends with "a three b seven answer".
    contents.append(text[-2 * num_choices : -1 : 2])
  return np.array(contents)
