"""Statements that a text may hold besides its question."""

from typing import NamedTuple

import numpy as np

from btw_jax.data.questions import tasks
from btw_jax.data.questions import vocabulary as vocabulary_lib

_CLAIMS = (
  "the answer is {x} .", "it is {x} .", "the right answer is {x} .",
  "all say {x} .",
)  # fmt: skip
_FACTS = (
  "the sea is deep .", "snow is cold .", "cats like milk .",
  "the sun is far away .", "trees have leaves .", "paris is in france .",
  "iron is a metal .", "bees make honey .", "the moon is round .",
  "water is wet .", "birds can fly .", "the sky is blue .",
)  # fmt: skip
_FAMILIES = (tasks.DIGITS, tasks.LETTERS)
# The words of statements; the vocabulary has them too.
TEXTS = (*_CLAIMS, *_FACTS)


class Statements(NamedTuple):
  """The statements that may be put before a question.

  Attributes:
    misleading: `[A, W, S]` token ids: W wordings of the claim that the answer
      is the a-th of A answers.
    answers: `[A]` token ids of these answers.
    families: `[A]` int; a wrong answer is drawn from the family of the right
      one, from the digits or from the letters of choices.
    facts: `[F, S]` token ids of unrelated facts.
  """

  misleading: np.ndarray
  answers: np.ndarray
  families: np.ndarray
  facts: np.ndarray


def length() -> int:
  """Returns S, the number of tokens of the longest statement."""
  return max(len(vocabulary_lib.split(_with(t, "one"))) for t in TEXTS)


def make(vocabulary: vocabulary_lib.Vocabulary) -> Statements:
  """Returns the statements as tokens."""
  words = [word for family in _FAMILIES for word in family]

  def encode(text):
    tokens = vocabulary.encode(text)
    return tokens + [vocabulary_lib.PAD] * (length() - len(tokens))

  return Statements(
    np.array(
      [[encode(_with(claim, word)) for claim in _CLAIMS] for word in words]
    ),
    np.array([vocabulary[word] for word in words]),
    np.repeat(range(len(_FAMILIES)), [len(family) for family in _FAMILIES]),
    np.array([encode(fact) for fact in _FACTS]),
  )


def _with(text, word):
  return text.replace("{x}", word)
