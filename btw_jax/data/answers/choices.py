"""Answers and labels as text, turned to positions among the options."""

from collections.abc import Sequence
import functools
import re
from typing import Any

from btw_jax.data.answers import conditions

# A letter may stand for itself, with brackets and points around it.
_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\].:,;]*")
# "B) two cats", "B. two cats", "(B) two cats"; not "A cat", not "I think".
_LEADING = re.compile(r"[(\[]?([A-Za-z])[)\].:][)\].:*]*\s")
_BRACKETED = re.compile(r"\(([A-Za-z])\)\s?\S")
_NAMED = re.compile(r"(?i:option|choice)\s+\(?([A-Z])\)?(?:[.:,;)]|$)")
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Z])\)?\s*\}")
# "The answer is B", "Answer: **B**", "<answer>B</answer>". The letters A and I
# are words too: no other word may follow them, except a reason.
_ANSWER = re.compile(
  r"(?i:\banswer)(?:\W+(?i:is))?(?:\W+(?i:option|choice))?\W{1,6}"
  r"([A-Z])(?=\s*$|\s*[^\w\s]|\s+(?i:because|since|as)\b|(?<![AI])\s)"
)
_ANSWER_TEXT = re.compile(r"(?i)\banswer(?:\s+is\b\W*|\W*:\W*)(\S.*)")
# Marks of Markdown and quotes around an answer.
_MARKS = " \t\r\n*_`\"'"


def letter(position: int) -> str:
  """Returns the letter of an option; a number from the 27th option on."""
  return chr(ord("A") + position) if position < 26 else str(position + 1)


def letters(num_options: int) -> tuple[str, ...]:
  """Returns the letters of the first options."""
  return tuple(letter(position) for position in range(num_options))


@functools.lru_cache(maxsize=1 << 14)
def plain(text: str) -> str:
  """Returns a text without case, marks around it and a final point."""
  return text.strip(_MARKS).rstrip(".").strip(_MARKS).casefold()


def read_answer(
  text: Any, num_options: int = 0, texts: Sequence[str] = ()
) -> int:
  """Returns the position of the option that an answer names, or `NONE`.

  An answer is the text of an option, or a letter, alone or in one of the usual
  forms: "B.", "(B)", "B) two cats", "The answer is B". The text of an option
  comes first, because "A" may be the text of the option C.

  Args:
    text: the answer; values that are not texts are written as texts.
    num_options: the number of options; 0 if unknown, so that every letter is
      accepted.
    texts: the texts of the options, if they are known.
  """
  text = "" if text is None else str(text)
  if text in texts:
    return list(texts).index(text)
  options = [plain(option) for option in texts]
  position = _find(plain(text), options)
  if position != conditions.NONE:
    return position
  named = _letter(text.strip(_MARKS))
  if named:
    position = ord(named.upper()) - ord("A")
    known = num_options or len(texts)
    return position if not known or position < known else conditions.NONE
  rest = _ANSWER_TEXT.search(text)
  return _find(plain(rest[1]), options) if rest else conditions.NONE


def _find(text, options):
  return options.index(text) if text in options else conditions.NONE


def _letter(text):
  """Returns the letter that a text names, or an empty text."""
  whole = _ALONE.fullmatch(text)
  if whole:
    return whole[1]
  for pattern in (_LEADING, _BRACKETED, _NAMED):
    start = pattern.match(text)
    if start:
      return start[1]
  # A model that reasons first gives its answer last.
  marked = _BOXED.findall(text) or _ANSWER.findall(text)
  return marked[-1] if marked else ""
