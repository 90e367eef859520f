"""The fields of a line of an evaluation log: scores, texts of options."""

from collections.abc import Mapping, Sequence
import itertools

from btw_jax.data.answers import choices
from btw_jax.data.answers import scores


def read_scores(answer, where):
  """Returns the log-likelihoods of the options; None if the answer is text."""
  pairs = [_unwrap(option) for option in answer]
  if not all(
    len(pair) == 2 and str(pair[1]) in ("True", "False") for pair in pairs
  ):
    return None
  return scores.read_numbers([pair[0] for pair in pairs], where)


def _unwrap(value):
  """Returns the inner list of lists of one item."""
  while isinstance(value, list) and len(value) == 1:
    value = value[0]
  return value if isinstance(value, list) else ()


def read_text(answer):
  """Returns the first text of nested lists."""
  while isinstance(answer, list):
    answer = answer[0] if answer else ""
  return answer


def option_texts(doc):
  """Returns the texts of the options of a document, or nothing."""
  for field in ("choices", "options", "endings"):
    value = doc.get(field)
    if isinstance(value, Mapping):
      value = value.get("text", list(value.values()))
    if isinstance(value, list) and value:
      return tuple(str(text).strip() for text in value)
  # Some documents have one field per letter.
  letters = itertools.takewhile(doc.__contains__, choices.letters(26))
  texts = tuple(str(doc[letter]).strip() for letter in letters)
  return texts if len(texts) > 1 else ()


def continuations(record):
  """Returns the texts that were scored, or nothing."""
  arguments = record.get("arguments") or ()
  if isinstance(arguments, Mapping):
    arguments = [
      list(pair.values()) if isinstance(pair, Mapping) else pair
      for pair in arguments.values()
    ]
  if not isinstance(arguments, list | tuple):
    return ()
  texts = [
    pair[1] if isinstance(pair, list) and len(pair) > 1 else None
    for pair in arguments
  ]
  if not all(isinstance(text, str) for text in texts):
    return ()
  return tuple(text.strip() for text in texts)


def lengths(texts: Sequence[str], unit: str) -> tuple[int, ...]:
  """Returns the length of each text in bytes, or in characters."""
  if unit == "bytes":
    return tuple(len(text.encode()) for text in texts)
  return tuple(len(text) for text in texts)
