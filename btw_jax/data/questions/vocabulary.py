"""The words of the language model, and the tokens of a text."""

from collections.abc import Iterable, Sequence
import dataclasses
import functools
import re

# The token ids with a meaning of their own; all larger ids are words.
PAD, BOS, IMAGE, AUDIO, UNKNOWN = range(5)
_SPECIAL = ("<pad>", "<bos>", "<image>", "<audio>", "<unknown>")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The words that have a token of their own.

  Attributes:
    words: in the order of their ids, the special tokens first.
  """

  words: tuple[str, ...]

  @classmethod
  def from_words(cls, words: Iterable[str]) -> "Vocabulary":
    """Makes the vocabulary of words, each once, in alphabetical order."""
    return cls((*_SPECIAL, *sorted(set(words))))

  def __len__(self) -> int:
    """Returns the number of tokens, V."""
    return len(self.words)

  def __getitem__(self, word: str) -> int:
    """Returns the id of a word, `UNKNOWN` if it has none."""
    return self._ids.get(word, UNKNOWN)

  def encode(self, text: str) -> list[int]:
    """Returns the ids of a text's words and marks of punctuation."""
    return [self[word] for word in split(text)]

  def decode(self, tokens: Sequence[int]) -> str:
    """Returns the words of tokens, without padding."""
    return " ".join(self.words[t] for t in tokens if t != PAD)

  @functools.cached_property
  def _ids(self):
    return {word: number for number, word in enumerate(self.words)}


def split(text: str) -> list[str]:
  """Splits a text into lower-case words and marks of punctuation."""
  return _WORD.findall(text.lower())
