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
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import tokenizers

from btw_jax import errors
from btw_jax.data.answers import conditions as conditions_lib
from btw_jax.data.answers import joining
from btw_jax.data.answers import scores as scores_lib
from btw_jax.data.sources import questions as questions_lib
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import images as images_lib
from btw_jax.models.pretrained import sharding
from btw_jax.models.pretrained import tokens as tokens_lib
from btw_jax.models.pretrained import vision_language
from btw_jax.pipeline import files
from btw_jax.pipeline import progress
from btw_jax.pipeline.language import answers as language_answers
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import prompts

LEAST_MASS = language_answers.LEAST_MASS
# The two kinds of questions, and the folders of their audits.
WITH_IMAGE, WITHOUT_IMAGE = "image_questions", "text_questions"
ANSWERS = "answers.npz"
MAX_OPTIONS = len(prompts.LETTERS)
# Height and width of images that do not matter.
_SIDE = 336
_MISLEADING = "The right answer is {}."
# Kinds of images that do not matter for a question.
IRRELEVANT = ("noise", "black", "white")


class Picture(NamedTuple):
  """An image that is read when its turn comes.

  Attributes:
    size: width and height.
    read: returns the image.
  """

  size: tuple[int, int]
  read: Callable[[], Image.Image]


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
    picture: Picture | None,
    statement: str = "",
  ) -> answers_lib.Ask:
    """Returns what the model reads of a question.

    Raises:
      InputError: naming the question, if it does not fit the model.
    """
    choices, grid = list(entry.choices.values()), None
    if picture is not None:
      grid = images_lib.grid(self.processor, *picture.size)
    text = prompts.question_text(entry.question, choices, statement)
    try:
      prompt = prompts.make(
        self.tokenizer, self.model.config, text, len(choices), grid
      )
    except errors.InputError as error:
      field = "facts" if statement in entry.facts else "question"
      raise errors.InputError(f"{entry.where(field)} {error}") from error
    if picture is None:
      return answers_lib.Ask(prompt)

    def read():
      return images_lib.preprocess(self.processor, picture.read()).pixels

    return answers_lib.Ask(prompt, prompts.num_tiles(grid), read)

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

  With several devices the parameters are spread over them.

  Args:
    folder: of the model.
    dtype: "bfloat16" or "float32".
    split_images: whether models that cut large images into tiles do so.
    batch_size: questions of a batch.
    seed: see `Answerer`.
    least_mass: see `Answerer`.

  Raises:
    InputError: if the folder is wrong or holds another kind of model.
  """
  check_folder(folder)
  processor = images_lib.read(folder)
  place = None
  if jax.device_count() > 1:
    place = sharding.placement(sharding.make_mesh(jax.devices()))
  model = catalog.load(folder, dtype=jnp.dtype(dtype), place=place)
  if processor.shape != (model.config.vision.image_size,) * 2:
    raise errors.InputError(
      f"{folder}: {images_lib.CONFIG} makes images of"
      f" {processor.shape[0]} x {processor.shape[1]} pixels, config.json asks"
      f" for {model.config.vision.image_size}: give files of one model."
    )
  if not split_images:
    processor = processor._replace(splits=False)
  tokenizer = tokens_lib.read(folder, model.config.text.vocab_size)
  if tokenizer.token_to_id(prompts.IMAGE) != model.config.image_token:
    raise errors.InputError(
      f"{pathlib.Path(folder) / tokens_lib.FILE}: {prompts.IMAGE} is not the"
      f" token {model.config.image_token}, as config.json says: give the"
      " tokenizer of the same model."
    )
  return Answerer(model, tokenizer, processor, batch_size, seed, least_mass)


def check_folder(folder: str | os.PathLike) -> None:
  """Refuses folders of models that do not read both images and texts.

  Raises:
    InputError: if it is one.
  """
  architecture, _ = catalog.read_architecture(folder)
  families = (vision_language.LLAVA, vision_language.SMOLVLM)
  if catalog.ARCHITECTURES[architecture] not in families:
    raise errors.InputError(
      f"{folder}: holds a {architecture}, which does not read both images and"
      " texts: give LLaVA or SmolVLM."
    )


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
  pictures = [picture_of(entry) for entry in with_image]
  answered, least_mass = {}, answerer.least_mass
  if with_image:
    answered[WITH_IMAGE] = _join(
      with_image, _answer_with_image(answerer, with_image, pictures), least_mass
    )
  if without:
    answered[WITHOUT_IMAGE] = _join(
      without, _answer_without(answerer, without, pictures), least_mass
    )
  return answered


def _answer_with_image(answerer, entries, pictures):
  """Returns condition -> scores, of questions with an image."""

  def asks(statements):
    return [
      answerer.ask(*one)
      for one in zip(entries, pictures, statements, strict=True)
    ]

  # All prompts are made first: a text that does not fit is named at once.
  plain, rng = asks([""] * len(entries)), np.random.default_rng(answerer.seed)
  misleading = asks([misleading_text(entry, rng) for entry in entries])
  facts = _facts(entries, rng)
  unrelated = asks(facts) if facts else []
  with progress.doing("answering questions with an image"):
    stats = answers_lib.statistics(answerer.model, plain, answerer.batch_size)
    answered = {
      "both": answerer.answer(plain),
      "vision": answerer.answer(plain, masked=answers_lib.TEXT, stats=stats),
      "text": answerer.answer(plain, masked=answers_lib.VISION, stats=stats),
    }
    answered["misleading_text"] = answerer.answer(misleading)
    if unrelated:
      answered["unrelated_facts"] = answerer.answer(unrelated)
  return answered


def _answer_without(answerer, entries, other_pictures):
  """Returns condition -> scores, of questions without an image."""
  seed = answerer.seed
  kinds = {
    f"{kind}_image": [
      irrelevant_picture(kind, seed, r) for r in range(len(entries))
    ]
    for kind in IRRELEVANT
  }
  if other_pictures:
    drawn = np.random.default_rng(seed).integers(
      len(other_pictures), size=len(entries)
    )
    kinds["exchanged_image"] = [other_pictures[i] for i in drawn]
  with progress.doing("answering questions without an image"):
    answered = {
      "both": answerer.answer([answerer.ask(entry, None) for entry in entries])
    }
    for name, pictures in kinds.items():
      answered[name] = answerer.answer(
        [answerer.ask(*pair) for pair in zip(entries, pictures, strict=True)]
      )
  return answered


def picture_of(entry: questions_lib.Entry) -> Picture:
  """Returns the image of a question, which is decoded once for its size.

  Raises:
    InputError: if it cannot be read.
  """
  return Picture(entry.picture().size, entry.picture)


def irrelevant_picture(kind: str, *seeds: int) -> Picture:
  """Returns an image of a kind of `IRRELEVANT`; numbers seed the noise."""

  def read():
    if kind != "noise":
      return Image.new("RGB", (_SIDE, _SIDE), kind)
    rng = np.random.default_rng(seeds)
    return Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8))

  return Picture((_SIDE, _SIDE), read)


def misleading_text(
  entry: questions_lib.Entry, rng: np.random.Generator
) -> str:
  """Returns a statement for a wrong option of a question, drawn at random."""
  return _MISLEADING.format(wrong_option(entry, rng))


def wrong_option(entry: questions_lib.Entry, rng: np.random.Generator) -> str:
  """Draws a wrong option of a question, and returns its text."""
  texts = list(entry.choices.values())
  wrong = [text for text in texts if text != texts[entry.label]]
  return wrong[rng.integers(len(wrong))]


def _facts(entries, rng):
  """Returns a fact for each question; its own, or one of another question.

  The list is empty if the file has no facts.
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
        decisions=scores_lib.decide(scores.log_probs),
        log_probs=scores.log_probs,
        labels=np.array([entry.label for entry in entries]),
        option_texts=texts,
        option_names=tuple(prompts.LETTERS[: num_options.max()]),
        notes=_notes(scores.mass, least_mass),
      )
      for name, scores in answered.items()
    ]
  )


def write(folder: str | os.PathLike, answers: conditions_lib.Answers) -> None:
  """Writes the answers to `answers.npz`, which an audit reads again."""
  arrays = {
    name: np.where(np.isneginf(x), np.nan, x)
    for name, x in answers.log_probs.items()
  }
  columns = {"labels": answers.labels, "ids": answers.ids}
  files.write_arrays(pathlib.Path(folder) / ANSWERS, arrays | columns)


def _notes(mass, least_mass):
  """Returns a note if the model meant to say something else than a letter."""
  number = int(np.sum(mass < least_mass))
  if not number:
    return ()
  return (
    f"{number} of {len(mass)} answers give the letters of the options less than"
    f" {least_mass:g} of the probability: these have no decision",
  )
