"""Question files for pretrained models: what decides, and what misleads.

Questions with an image are answered as they are, without the image, without
the question, and with a text that does not matter. Questions without an image
are answered as they are and beside images that do not matter. An audit measures
the rest: accuracy, changed decisions and interactions (PID). arXiv 2606.00959
and 2505.19616.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image
import tokenizers

from btw_jax import errors
from btw_jax.data.answers import conditions as conditions_lib
from btw_jax.data.answers import joining
from btw_jax.data.sources import questions as questions_lib
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import images as images_lib
from btw_jax.models.pretrained import tokens as tokens_lib
from btw_jax.models.pretrained import vision_language
from btw_jax.pipeline import progress
from btw_jax.pipeline.language import answers as language_answers
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import prompts

DTYPES = ("bfloat16", "float32")
LEAST_MASS = language_answers.LEAST_MASS
# The two kinds of questions, and the folders of their audits.
WITH_IMAGE, WITHOUT_IMAGE = "image_questions", "text_questions"
# Height and width of images that do not matter.
_SIDE = 336
_MISLEADING = "The right answer is {}."


@dataclasses.dataclass(frozen=True)
class Answerer:
  """A pretrained model that answers questions.

  Attributes:
    model: the model.
    tokenizer: its tokenizer.
    processor: of its images.
    batch_size: questions of a batch.
    seed: of noise, and of the statements and images that do not matter.
    least_mass: options that together hold less of the probability count as
      equally likely.
  """

  model: family.Pretrained
  tokenizer: tokenizers.Tokenizer
  processor: images_lib.Processor
  batch_size: int
  seed: int
  least_mass: float

  def ask(
    self,
    entry: questions_lib.Entry,
    picture: Image.Image | None,
    statement: str = "",
  ) -> answers_lib.Ask:
    """Returns what the model reads of a question."""
    tiles = None
    if picture is not None:
      tiles = images_lib.preprocess(self.processor, picture)
    choices = list(entry.choices.values())
    text = prompts.question_text(entry.question, choices, statement)
    prompt = prompts.make(
      self.tokenizer, self.model.config, text, len(choices), tiles
    )
    return answers_lib.Ask(prompt, None if tiles is None else tiles.pixels)

  def answer(
    self, asks: Sequence[answers_lib.Ask], **masked: Any
  ) -> answers_lib.Scores:
    """Scores the options of questions; `masked` is that of `answers.score`."""
    return answers_lib.score(
      self.model,
      asks,
      self.batch_size,
      seed=self.seed,
      least_mass=self.least_mass,
      **masked,
    )


def load(
  folder: str | os.PathLike,
  *,
  dtype: str = "bfloat16",
  split_images: bool = True,
  batch_size: int = 8,
  seed: int = 0,
  least_mass: float = LEAST_MASS,
) -> Answerer:
  """Reads a vision-language model with its tokenizer and image processor.

  Args:
    folder: of the model.
    dtype: a name of `DTYPES`.
    split_images: whether models that cut large images into tiles do so.
    batch_size: questions of a batch.
    seed: see `Answerer`.
    least_mass: see `Answerer`.

  Raises:
    InputError: if the folder is wrong or holds another kind of model.
  """
  architecture, _ = catalog.read_architecture(folder)
  families = (vision_language.LLAVA, vision_language.SMOLVLM)
  if catalog.ARCHITECTURES[architecture] not in families:
    raise errors.InputError(
      f"{folder}: holds a {architecture}, which does not read both images and"
      " texts: give LLaVA or SmolVLM."
    )
  processor = images_lib.read(folder)
  model = catalog.load(folder, dtype=jnp.dtype(dtype))
  if processor.shape != (model.config.vision.image_size,) * 2:
    raise errors.InputError(
      f"{folder}: {images_lib.CONFIG} makes images of"
      f" {processor.shape[0]} x {processor.shape[1]} pixels, config.json asks"
      f" for {model.config.vision.image_size}: give files of one model."
    )
  if not split_images:
    processor = processor._replace(splits=False)
  tokenizer = tokens_lib.read(folder, model.config.text.vocab_size)
  return Answerer(model, tokenizer, processor, batch_size, seed, least_mass)


def answer(
  answerer: Answerer, entries: Sequence[questions_lib.Entry]
) -> dict[str, conditions_lib.Answers]:
  """Answers questions under all conditions.

  Args:
    answerer: the model.
    entries: the questions of a file.

  Returns:
    `WITH_IMAGE` and `WITHOUT_IMAGE`, those that the file has -> the answers
    that an audit measures.

  Raises:
    InputError: if an image cannot be read.
  """
  with_image = [entry for entry in entries if entry.has_image]
  without = [entry for entry in entries if not entry.has_image]
  answered, least_mass = {}, answerer.least_mass
  if with_image:
    answered[WITH_IMAGE] = _join(
      with_image, _answer_with_image(answerer, with_image), least_mass
    )
  if without:
    answered[WITHOUT_IMAGE] = _join(
      without, _answer_without(answerer, without, with_image), least_mass
    )
  return answered


def _answer_with_image(answerer, entries):
  """Returns condition -> scores, of questions with an image."""
  pictures = [entry.picture() for entry in entries]

  def asks(statements: Callable[[int], str] = lambda row: ""):
    return [
      answerer.ask(entry, picture, statements(row))
      for row, (entry, picture) in enumerate(
        zip(entries, pictures, strict=True)
      )
    ]

  plain = asks()
  with progress.doing("answering questions with an image"):
    stats = answers_lib.statistics(answerer.model, plain, answerer.batch_size)
    answered = {
      "both": answerer.answer(plain),
      "vision": answerer.answer(plain, masked=answers_lib.TEXT, stats=stats),
      "text": answerer.answer(plain, masked=answers_lib.VISION, stats=stats),
    }
    rng = np.random.default_rng(answerer.seed)
    wrong = [wrong_option(entry, rng) for entry in entries]
    answered["misleading_text"] = answerer.answer(
      asks(lambda row: _MISLEADING.format(wrong[row]))
    )
    facts = _facts(entries, rng)
    if facts:
      answered["unrelated_facts"] = answerer.answer(
        asks(lambda row: facts[row])
      )
  return answered


def _answer_without(answerer, entries, others):
  """Returns condition -> scores, of questions without an image."""
  rng = np.random.default_rng(answerer.seed)
  side = (_SIDE, _SIDE)

  def noise(row):
    del row
    return Image.fromarray(rng.integers(0, 256, (*side, 3), np.uint8))

  kinds = {
    "noise_image": noise,
    "black_image": lambda row: Image.new("RGB", side, "black"),
    "white_image": lambda row: Image.new("RGB", side, "white"),
  }
  if others:
    drawn = rng.integers(len(others), size=len(entries))
    kinds["exchanged_image"] = lambda row: others[drawn[row]].picture()
  with progress.doing("answering questions without an image"):
    answered = {
      "both": answerer.answer([answerer.ask(entry, None) for entry in entries])
    }
    for name, picture in kinds.items():
      answered[name] = answerer.answer(
        [answerer.ask(e, picture(row)) for row, e in enumerate(entries)]
      )
  return answered


def wrong_option(entry: questions_lib.Entry, rng: np.random.Generator) -> str:
  """Draws a wrong option of a question, and returns its text."""
  texts = list(entry.choices.values())
  wrong = [t for i, t in enumerate(texts) if i != entry.label]
  return wrong[rng.integers(len(wrong))]


def _facts(entries, rng):
  """Returns a fact for each question; its own, or one of another question.

  None if the file has no facts.
  """
  known = [fact for entry in entries for fact in entry.facts]
  if not known:
    return []
  return [
    entry.facts[0] if entry.facts else known[rng.integers(len(known))]
    for entry in entries
  ]


def _join(
  entries: Sequence[questions_lib.Entry],
  answered: Mapping[str, answers_lib.Scores],
  least_mass: float,
) -> conditions_lib.Answers:
  """Returns the answers as an audit reads them."""
  texts = [list(entry.choices.values()) for entry in entries]
  num_options = np.array([len(t) for t in texts])
  return joining.join(
    [
      conditions_lib.Condition(
        name=name,
        file=name,
        ids=[entry.id for entry in entries],
        num_options=num_options,
        decisions=np.argmax(scores.log_probs, axis=1),
        log_probs=scores.log_probs,
        labels=np.array([entry.label for entry in entries]),
        option_texts=texts,
        option_names=tuple(prompts.LETTERS[: num_options.max()]),
        notes=_notes(scores.mass, least_mass),
      )
      for name, scores in answered.items()
    ]
  )


def _notes(mass, least_mass):
  """Returns a note if the model meant to say something else than a letter."""
  number = int(np.sum(mass < least_mass))
  if not number:
    return ()
  return (
    f"{number} of {len(mass)} answers give the letters of the options less than"
    f" {least_mass:g} of the probability, and count as undecided",
  )
