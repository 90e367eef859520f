"""The tasks of the world: their wordings, answers and relevant modalities.

A wording is a text in which `{n}` and `{m}` stand for number words. The
wordings of the three splits differ; every word of validation and test occurs
in training.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

NUMBERS = (
  "zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
  "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
  "sixteen", "seventeen", "eighteen",
)  # fmt: skip
DIGITS, YES_NO, LETTERS = NUMBERS[:10], ("no", "yes"), ("a", "b", "c", "d")
MODALITIES = ("text", "image", "audio")
# The number of values of the parameter of a text: of a digit, of a threshold,
# of two digits, and of none.
_DIGIT, _THRESHOLD, _PAIR, _NONE = 10, 9, 100, 1


class Task(NamedTuple):
  """A kind of question.

  Attributes:
    wordings: split -> wordings.
    relevant: names of the modalities that the answer depends on.
    answers: the words of the possible answers.
    answer: (digit shown, digit spoken, parameter), arrays of one shape -> the
      position of the answer in `answers`.
    num_parameters: number of values of the text's parameter.
    has_audio: whether there is a sound.
    num_choices: number of lettered options in the text; 0 for an open question.
    share: of the training questions, relative to other tasks; hard tasks need
      more.
  """

  wordings: Mapping[str, Sequence[str]]
  relevant: tuple[str, ...]
  answers: Sequence[str]
  answer: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
  num_parameters: int = _NONE
  has_audio: bool = False
  num_choices: int = 0
  share: float = 1.0


_SHOWN = {
  "train": (
    "which digit is shown ?",
    "what digit is in the picture ?",
    "name the digit in the image .",
    "the image shows which digit ?",
    "what is the digit in the picture ?",
    "tell me the digit shown here .",
    "which digit do you see ?",
    "what does the picture show ?",
  ),
  "valid": ("what is the digit shown ?", "which digit is in the image ?"),
  "test": ("name the digit shown .", "what digit does the picture show ?"),
}
_ARITHMETIC = {
  "train": (
    "{n} plus {m} ?",
    "what is {n} plus {m} ?",
    "add {n} and {m} .",
    "the sum of {n} and {m} ?",
    "{n} and {m} make ?",
    "tell me the sum of {n} and {m} .",
    "how much is {n} and {m} ?",
    "to {n} add {m} .",
    "{n} plus {m} is what ?",
  ),
  "valid": ("what is the sum of {n} and {m} ?", "add {m} to {n} ."),
  "test": ("how much is {n} plus {m} ?", "{n} and {m} make what ?"),
}
_COMPARE = {
  "train": (
    "is the digit shown larger than {n} ?",
    "is the digit in the image above {n} ?",
    "does the picture show more than {n} ?",
    "is the digit in the picture greater than {n} ?",
    "the digit shown is more than {n} ?",
    "do you see a digit larger than {n} ?",
    "is the image above {n} ?",
    "tell me , is the digit greater than {n} ?",
  ),
  "valid": (
    "is the digit shown above {n} ?",
    "does the image show more than {n} ?",
  ),
  "test": (
    "is the digit in the picture larger than {n} ?",
    "do you see a digit greater than {n} ?",
  ),
}
_ADD = {
  "train": (
    "the digit shown plus {n} ?",
    "add {n} to the digit in the image .",
    "what is {n} plus the digit shown ?",
    "the sum of {n} and the digit in the picture ?",
    "what is the digit in the image plus {n} ?",
    "tell me the sum of the digit shown and {n} .",
    "how much is {n} plus the digit in the picture ?",
    "the digit you see plus {n} is what ?",
  ),
  "valid": (
    "what is the digit shown plus {n} ?",
    "the sum of {n} and the digit in the image ?",
  ),
  "test": (
    "add {n} to the digit in the picture .",
    "how much is {n} plus the digit shown ?",
  ),
}
_SPOKEN = {
  "train": (
    "which digit is spoken ?",
    "what digit is in the sound ?",
    "name the digit in the recording .",
    "the recording says which digit ?",
    "what is the digit in the sound ?",
    "tell me the digit spoken here .",
    "which digit do you hear ?",
    "what does the recording say ?",
  ),
  "valid": ("what is the digit spoken ?", "which digit is in the recording ?"),
  "test": ("name the digit spoken .", "what digit does the sound say ?"),
}
_SAME = {
  "train": (
    "are the digit shown and the digit spoken the same ?",
    "is the digit in the image equal to the digit in the sound ?",
    "do the picture and the recording agree ?",
    "is the digit you see the digit you hear ?",
    "do the image and the sound show the same digit ?",
    "are the digits in the picture and the sound equal ?",
    "does the recording agree with the image ?",
    "tell me , are both digits the same ?",
  ),
  "valid": (
    "is the digit shown equal to the digit spoken ?",
    "do the image and the recording agree ?",
  ),
  "test": (
    "are the digit you see and the digit you hear the same ?",
    "does the sound agree with the picture ?",
  ),
}
_BOTH_SUM = {
  "train": (
    "the digit shown plus the digit spoken ?",
    "add the digit in the image and the digit in the sound .",
    "what is the sum of both digits ?",
    "the sum of the digit you see and the digit you hear ?",
    "how much are the picture and the recording together ?",
    "tell me the sum of the digit shown and the digit spoken .",
    "the image plus the sound is what ?",
    "how much do both digits make ?",
  ),
  "valid": (
    "what is the digit shown plus the digit spoken ?",
    "how much are the image and the sound together ?",
  ),
  "test": (
    "the sum of the digit shown and the digit spoken ?",
    "how much are both digits together ?",
  ),
}


def _number_in_text(shown, spoken, parameter):
  del shown, spoken
  return parameter // 10 + parameter % 10


TASKS = {
  "shown": Task(_SHOWN, ("image",), DIGITS, lambda v, a, n: v),
  "arithmetic": Task(_ARITHMETIC, ("text",), NUMBERS, _number_in_text, _PAIR),
  "compare": Task(
    _COMPARE,
    ("text", "image"),
    YES_NO,
    lambda v, a, n: (v > n).astype(int),
    _THRESHOLD,
    share=0.5,
  ),
  "add": Task(
    _ADD,
    ("text", "image"),
    NUMBERS,
    lambda v, a, n: v + n,
    _DIGIT,
    share=1.5,
  ),
  "spoken": Task(
    _SPOKEN, ("audio",), DIGITS, lambda v, a, n: a, has_audio=True
  ),
  "seen": Task(_SHOWN, ("image",), DIGITS, lambda v, a, n: v, has_audio=True),
  "same": Task(
    _SAME,
    ("image", "audio"),
    YES_NO,
    lambda v, a, n: (v == a).astype(int),
    has_audio=True,
  ),
  "both_sum": Task(
    _BOTH_SUM,
    ("image", "audio"),
    NUMBERS,
    lambda v, a, n: v + a,
    has_audio=True,
    share=1.5,
  ),
}
# The same questions with options to choose from.
TASKS |= {
  f"{name}_choice": TASKS[name]._replace(num_choices=number, share=share)
  for name, number, share in (
    ("shown", 4, 1.0), ("arithmetic", 4, 2.5), ("compare", 2, 0.7),
  )
}  # fmt: skip


def truth(name: str) -> np.ndarray:
  """Returns the exact joint distribution of the ideal answerer of a task.

  The first source is the digit shown, or the digit spoken for `spoken`. The
  second one is the parameter of the text, and for questions about image and
  sound the digit spoken.

  Args:
    name: of an open task.

  Returns:
    `[n1, n2, C]` probabilities over both sources and the answer.
  """
  task = TASKS[name]
  with_sound = {"image", "audio"} <= set(task.relevant)
  num_second = 10 if with_sound else task.num_parameters
  first, second = np.meshgrid(
    np.arange(10), np.arange(num_second), indexing="ij"
  )
  spoken = second if with_sound else first
  answer = task.answer(first, spoken, second)
  weights = pair_weights(name)
  joint = np.zeros((10, num_second, len(task.answers)))
  joint[first, second, answer] = weights
  return joint


def pair_weights(name: str) -> np.ndarray:
  """Returns the probabilities `[n1, n2]` of both sources; see `truth`."""
  task = TASKS[name]
  with_sound = {"image", "audio"} <= set(task.relevant)
  num_second = 10 if with_sound else task.num_parameters
  if name == "same":
    # Half of the answers are yes.
    return np.where(np.eye(10) > 0, 0.5 / 10, 0.5 / 90)
  return np.full((10, num_second), 1 / (10 * num_second))
