"""Prompts: questions with options, as a pretrained model reads them.

The answer is the letter of an option, and the next token after the prompt. A
prompt knows which of its tokens ask the question; the others are the frame that
the model expects around any question.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tokenizers

from btw_jax import errors
from btw_jax.models.pretrained import vision_language

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The wording of the interference paper, arXiv 2505.19616, and of LLaVA.
_INSTRUCTION = (
  "Answer with the option's letter from the given choices directly."
)
IMAGE = "<image>"
_FAKE, _GLOBAL = "<fake_token_around_image>", "<global-img>"


class Prompt(NamedTuple):
  """The tokens of a question.

  Attributes:
    ids: `[T]` int.
    is_question: `[T]` bool, the tokens of question, options and statements.
    letters: the token of the letter of each option.
  """

  ids: np.ndarray
  is_question: np.ndarray
  letters: tuple[int, ...]


def question_text(
  question: str, choices: Sequence[str], statement: str = ""
) -> str:
  """Returns a question with its options, after a statement if there is one."""
  lines = [statement] if statement else []
  lines.append(question)
  for letter, choice in zip(LETTERS, choices, strict=False):
    lines.append(f"{letter}. {choice}")
  return "\n".join([*lines, _INSTRUCTION])


def make(
  tokenizer: tokenizers.Tokenizer,
  config: vision_language.Config,
  text: str,
  num_options: int,
  grid: tuple[int, int] | None,
) -> Prompt:
  """Returns the prompt of a question.

  Args:
    tokenizer: of the model.
    config: of the model.
    text: from `question_text`.
    num_options: number of its options, at most 26.
    grid: rows and columns of the tiles of the image, 0 if it is not cut; None
      without an image.

  Raises:
    InputError: if the text holds a token with a meaning of its own, if the
      prompt is too long, or if a letter has no token.
  """
  try:
    text.encode("utf-8")
  except UnicodeEncodeError as error:
    raise errors.InputError(
      f"holds {text[error.start]!r}, which is no character: take it out."
    ) from error
  special = [
    token.content
    for token in tokenizer.get_added_tokens_decoder().values()
    if token.special and token.content in text
  ]
  if special:
    raise errors.InputError(
      f"has {special[0]!r}, which means something else to the model: take it"
      " out."
    )
  before, after = _frame(config, grid)
  encoded = tokenizer.encode(before + text + after)
  start, end = len(before), len(before) + len(text)
  is_question = np.array(
    [start <= first < last <= end for first, last in encoded.offsets]
  )
  ids = np.array(encoded.ids, np.int32)
  if len(ids) > config.text.num_positions:
    raise errors.InputError(
      f"makes {len(ids)} tokens, the model reads"
      f" {config.text.num_positions}: shorten it, or use --nosplit_images."
    )
  return Prompt(ids, is_question, _letters(tokenizer, num_options, after))


def num_tiles(grid: tuple[int, int]) -> int:
  """Returns the number of tiles of an image, the whole image included."""
  rows, columns = grid
  return rows * columns + 1


def _frame(config, grid):
  """Returns what stands before and after the text of a question."""
  image = IMAGE * config.num_image_tokens
  if config.is_llava:
    shown = "" if grid is None else f"{image}\n"
    return f"USER: {shown}", " ASSISTANT:"
  after = "<end_of_utterance>\nAssistant:"
  if grid is None:
    return "<|im_start|>User: ", after
  shown, (rows, columns) = "", grid
  for row in range(1, rows + 1):
    for column in range(1, columns + 1):
      shown += f"{_FAKE}<row_{row}_col_{column}>{image}"
    shown += "\n"
  if rows:
    shown += "\n"
  shown += f"{_FAKE}{_GLOBAL}{image}{_FAKE}"
  return f"<|im_start|>User:{shown}", after


def _letters(tokenizer, num_options, after):
  """Returns the tokens of letters, as they follow the frame of a question."""
  letters = tuple(
    tokenizer.encode(f"{after} {letter}").ids[-1]
    for letter in LETTERS[:num_options]
  )
  if len(set(letters)) < num_options:
    raise errors.InputError(
      f"has {num_options} options, and the tokenizer has no token of its own"
      " for each of their letters: give fewer options."
    )
  return letters
