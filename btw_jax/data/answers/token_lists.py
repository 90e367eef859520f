"""Lists of the likeliest tokens, reduced to the options of a question."""

from collections.abc import Sequence
import functools
import math
import re
from typing import Any, NamedTuple

import numpy as np

from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions

# "A", " A", "(A", "▁A", "A.": spaces as the tokenizers write them.
_TOKEN = re.compile(r"[\s▁Ġ]*[(\[\"'*]*([A-Za-z])[)\].:,*\"']*\s*")

# Chosen token, its log-probability, and the list of tokens with theirs. Two
# tokens may have the same text, because spaces are lost when it is decoded.
Entry = tuple[str, float, list[tuple[str, float]]]


class Summary(NamedTuple):
  """The list of one question, reduced to its options.

  Attributes:
    position: number of the token in the answer; None if no list has a letter.
    log_masses: `[C]` log of the listed probability; −inf if not listed.
    ceiling: `[C]` the largest possible log-probability.
    mass: the probability of all letters of options together.
  """

  position: int | None
  log_masses: np.ndarray
  ceiling: np.ndarray
  mass: float


def read_entries(logprobs: Any) -> list[Entry]:
  """Returns the tokens of an answer with their lists.

  `logprobs` is that of a chat, with `content`, or that of a completion, with
  `tokens` and a mapping per token. Content of another form raises KeyError,
  TypeError, ValueError or AttributeError.
  """
  if not isinstance(logprobs, dict):
    return []
  if logprobs.get("content"):
    return [
      (
        *_read_item(entry),
        list(map(_read_item, entry.get("top_logprobs") or ())),
      )
      for entry in logprobs["content"]
    ]
  tokens, lists = logprobs.get("tokens") or (), logprobs.get("top_logprobs")
  entries = []
  for token, listed in zip(tokens, lists or (), strict=False):
    items = [
      _read_item({"token": text, "logprob": value})
      for text, value in (listed or {}).items()
    ]
    entries.append((token, dict(items).get(token, -math.inf), items))
  return entries


def _read_item(item):
  """Returns token and log-probability; raises an error if they are not."""
  token, logprob = item["token"], float(item["logprob"])
  if not isinstance(token, str) or not logprob <= 1e-3:
    raise ValueError("no log-probability of a token")
  return token, logprob


def summarise(
  entries: Sequence[Entry], count: int, texts: Sequence[str] = ()
) -> Summary:
  """Reduces the first list that holds an option to the `count` options.

  Small letters are read only if no list holds a capital one, because "a" is a
  word.
  """
  words = {choices.plain(text): place for place, text in enumerate(texts)}
  for small in (False, True):
    for place, (chosen, chosen_logprob, listed) in enumerate(entries):
      # A server may choose a token that is not among the likeliest ones.
      if all(token != chosen for token, _ in listed):
        listed = [(chosen, chosen_logprob), *listed]
      named = [_option(token, count, words, small) for token, _ in listed]
      if any(option != conditions.NONE for option in named):
        return _reduce(place, chosen, listed, named, count)
  nothing = np.full(count, -np.inf)
  return Summary(None, nothing, nothing, 0.0)


@functools.lru_cache(maxsize=1 << 14)
def position(token: str, small: bool = False) -> int:
  """Returns the position of the option whose letter a token is, or `NONE`."""
  match = _TOKEN.fullmatch(token)
  if not match or (match[1].islower() and not small):
    return conditions.NONE
  return ord(match[1].upper()) - ord("A")


def _option(token, count, words, small):
  """Returns the option that a token names by its text or letter, or `NONE`."""
  word = choices.plain(token.strip("▁Ġ"))
  # A text of one letter may be that of another option: letters come first.
  if len(word) > 1 and word in words:
    return words[word]
  option = position(token, small)
  return option if option < count else conditions.NONE


def _reduce(place, chosen, listed, named, count):
  """Returns the summary of a list whose tokens name the options `named`."""
  probs = [math.exp(logprob) for _, logprob in listed]
  masses = np.zeros(count)
  for prob, option in zip(probs, named, strict=True):
    if option != conditions.NONE:
      masses[option] += prob
  # No token outside the list is likelier than the last of the list. The chosen
  # token may be listed although it is not among the likeliest.
  others = [
    prob
    for prob, (token, _) in zip(probs, listed, strict=True)
    if token != chosen
  ]
  bound = min([max(1.0 - math.fsum(probs), 0.0), *others])
  with np.errstate(divide="ignore"):
    log_masses = np.log(masses)
    ceiling = np.where(masses > 0, log_masses, np.log(bound))
  return Summary(place, log_masses, ceiling, float(masses.sum()))
