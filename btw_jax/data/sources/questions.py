"""The reader of question files: a JSON list of multiple-choice questions.

An entry is `{"id", "question", "image", "multiple_choices": {"A": ...},
"multiple_choices_answer", "facts"}`, as in arXiv 2505.19616. `image` and
`facts` may be missing: a question without an image is decided by its text.
"""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any
import warnings

from absl import logging
import numpy as np
from PIL import Image
from PIL import ImageOps

from btw_jax import errors
from btw_jax.data.questions import question_set
from btw_jax.data.questions import tasks as tasks_lib
from btw_jax.data.questions import vocabulary as vocabulary_lib
from btw_jax.data.questions import world as world_lib

_NEEDED = ("id", "question", "multiple_choices", "multiple_choices_answer")
# The types of fields, if they are given, and their names in messages.
_TYPES = {
  "id": (str | int, "a text or a whole number"),
  "question": (str, "a text"),
  "multiple_choices_answer": (str, "a text"),
  "image": (str | None, "a path"),
}
# The errors of files that are no image, or too large a picture.
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
# The names of the tasks that entries become, by whether they have an image.
_TASKS = {True: "image_file", False: "text_file"}


def read(
  path: str | os.PathLike, world: world_lib.World, *, facts: bool = False
) -> question_set.QuestionSet:
  """Reads a question file.

  Words that the world does not have become `UNKNOWN`; the log says how many.

  Args:
    path: of the JSON file; paths of images are relative to its folder.
    world: the vocabulary and the layout of a text.
    facts: whether to put the first fact of each question before it.

  Returns:
    The questions, whose options are letters.

  Raises:
    InputError: naming the file, the entry and the field that is wrong.
  """
  asked = entries(path)
  texts = np.stack([one.tokens(world, facts) for one in asked])
  unknown = int(np.sum(texts == vocabulary_lib.UNKNOWN))
  if unknown:
    logging.warning("%s: %d words are unknown to the model", path, unknown)
  return _assemble(asked, texts, world)


def entries(
  path: str | os.PathLike, max_options: int = len(tasks_lib.LETTERS)
) -> list["Entry"]:
  """Reads the questions of a file, whose images are not read yet.

  Args:
    path: of the JSON file.
    max_options: the largest number of options of a question.

  Raises:
    InputError: naming the file, the entry and the field that is wrong.
  """
  path = pathlib.Path(path)
  asked = [
    Entry(path, number, entry, max_options)
    for number, entry in enumerate(_load(path))
  ]
  seen = {}
  for one in asked:
    before = seen.setdefault(one.id, one.number)
    if before != one.number:
      raise errors.InputError(
        f"{one.where('id')} is {one.id!r}, as in entry {before}: give each"
        " question an id of its own."
      )
  return asked


class Entry:
  """One question of a file.

  Attributes:
    number: its position in the file.
    id: its id.
    question: its text.
    choices: the texts of its options, by their names in the file.
    label: the position of the right option.
    facts: texts that do not matter for it, none or some.
  """

  def __init__(
    self, path: pathlib.Path, number: int, entry: Any, max_options: int
  ):
    """Checks the fields of an entry."""
    self._path, self.number, self._entry = path, number, entry
    if not isinstance(entry, Mapping):
      raise errors.InputError(
        f"{path}: entry {number} is no object: give a list of objects."
      )
    for name in _NEEDED:
      if name not in entry:
        raise errors.InputError(f"{self.where(name)} is missing: add it.")
    for name, (types, kind) in _TYPES.items():
      if not isinstance(entry.get(name, ""), types):
        raise errors.InputError(
          f"{self.where(name)} is {entry[name]!r}: give {kind}."
        )
    self.id = str(entry["id"])
    self._check_facts()
    choices = entry["multiple_choices"]
    is_object = isinstance(choices, Mapping)
    if not is_object or not 2 <= len(choices) <= max_options:
      raise errors.InputError(
        f"{self.where('multiple_choices')} has no 2 to {max_options} options:"
        ' give an object such as {"A": "one", "B": "two"}.'
      )
    for name, content in choices.items():
      if not isinstance(content, str | int | float):
        raise errors.InputError(
          f"{self.where('multiple_choices')} has {content!r} as {name}: give"
          " texts."
        )
    self.choices = {name: str(content) for name, content in choices.items()}
    answer = entry["multiple_choices_answer"]
    if answer not in self.choices:
      raise errors.InputError(
        f"{self.where('multiple_choices_answer')} is {answer!r}: give one of"
        f" {', '.join(self.choices)}."
      )
    self.label = list(self.choices).index(answer)
    self.question = entry["question"]
    self._check_texts()

  def _check_texts(self):
    """Checks that there is something to answer and to choose from."""
    if not self.question.strip():
      raise errors.InputError(f"{self.where('question')} is empty: fill it.")
    if self._entry.get("image") == "":
      raise errors.InputError(
        f"{self.where('image')} is empty: give a path, or leave it out."
      )
    right = list(self.choices.values())[self.label]
    if set(self.choices.values()) == {right}:
      raise errors.InputError(
        f"{self.where('multiple_choices')} has equal options: give different"
        " ones."
      )

  def where(self, field: str) -> str:
    """Names the file, the entry and a field."""
    return f"{self._path}: entry {self.number}, {field!r}"

  @property
  def has_image(self) -> bool:
    """Returns True if the question has an image."""
    return bool(self._entry.get("image"))

  def tokens(self, world: world_lib.World, facts: bool) -> np.ndarray:
    """Returns the text `[T]` of the question."""
    words = vocabulary_lib.split(self.question)
    letters = tasks_lib.LETTERS[: len(self.choices)]
    for letter, content in zip(letters, self.choices.values(), strict=True):
      words += [letter, *vocabulary_lib.split(content)]
    words.append(world_lib.LAST)
    tokens = [vocabulary_lib.BOS]
    if self.has_image:
      tokens += [vocabulary_lib.IMAGE] * world.num_image_tokens
    if facts and self.facts:
      tokens += world.vocabulary.encode(self.facts[0])
    tokens += [world.vocabulary[word] for word in words]
    padding = world.num_tokens - len(tokens)
    if padding < 0:
      also = "options and its first fact" if facts else "options"
      raise errors.InputError(
        f"{self.where('question')} is {-padding} words too long, with its"
        f" {also}: shorten it."
      )
    return np.array(tokens + [vocabulary_lib.PAD] * padding)

  def _check_facts(self):
    """Keeps the facts, a text or a list of texts."""
    given = self._entry.get("facts") or []
    self.facts = [given] if isinstance(given, str) else given
    is_list = isinstance(self.facts, list)
    if not is_list or not all(isinstance(x, str) for x in self.facts):
      raise errors.InputError(
        f"{self.where('facts')} is {given!r}: give a list of texts."
      )

  def image(self, shape: tuple[int, int]) -> np.ndarray:
    """Returns the image in the given shape, from 0 to 1; black without one."""
    if not self.has_image:
      return np.zeros(shape, np.float32)
    file = self._file
    try:
      pixels = _pixels(file)
    except _UNREADABLE as error:
      raise errors.InputError(
        f"{self.where('image')}: {file} cannot be read: give a .npy array or a"
        " .png file."
      ) from error
    if pixels.ndim != 2 or not pixels.size:
      raise errors.InputError(
        f"{self.where('image')}: {file} has shape {pixels.shape}: give grey"
        " values [H, W]."
      )
    if not np.all((pixels >= 0) & (pixels <= 1)):
      raise errors.InputError(
        f"{self.where('image')}: {file} has values from {pixels.min():g} to"
        f" {pixels.max():g}: give grey values from 0 to 1."
      )
    picture = Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BOX)
    return np.asarray(picture, np.float32)

  def picture(self) -> Image.Image:
    """Returns the image in colours, for models that read photographs.

    Raises:
      InputError: if it cannot be read.
    """
    try:
      with warnings.catch_warnings(), Image.open(self._file) as picture:
        # Pillow refuses twice as many pixels as it warns of.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if picture.mode == "F":
          raise ValueError("numbers with a fraction have no known white")
        if picture.mode.startswith("I"):
          # Pillow cuts 16 bits off at 255 if it converts them to colours.
          grey = np.asarray(picture, np.float64)
          if grey.size and not 0 <= grey.min() <= grey.max() < 2**16:
            raise ValueError("more than 16 bits have no known white")
          grey = (grey / 257).astype(np.uint8)
          return Image.fromarray(grey).convert("RGB")
        return ImageOps.exif_transpose(picture).convert("RGB")
    except _UNREADABLE as error:
      raise errors.InputError(
        f"{self.where('image')}: {self._file} cannot be read as a picture: give"
        " a .png or .jpg file."
      ) from error

  @property
  def _file(self):
    """The path of the image."""
    return self._path.parent / self._entry["image"]


def _pixels(file):
  """Returns the array of a .npy file, or the grey values of a picture."""
  if file.suffix == ".npy":
    with file.open("rb") as stream:
      array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype.kind not in "buif":
      raise ValueError(f"values of type {array.dtype}")
    return array.astype(np.float32)
  with Image.open(file) as picture:
    if picture.mode.startswith("I"):
      # Pillow cuts 16 bits off at 255 if it converts them to grey.
      return np.asarray(picture, np.float32) / 65535
    return np.asarray(picture.convert("L"), np.float32) / 255


def _load(path):
  """Returns the entries of a file."""
  try:
    entries = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise errors.InputError(
      f"{path}: cannot be read ({error.strerror}): give a question file."
    ) from error
  except (ValueError, RecursionError) as error:
    raise errors.InputError(
      f"{path}: is no JSON ({error}): give a list of questions."
    ) from error
  if not isinstance(entries, list) or not entries:
    raise errors.InputError(
      f"{path}: is no list with at least one question: give a JSON list."
    )
  return entries


def _assemble(asked, texts, world):
  """Returns checked entries as a set of questions."""
  number, has_audio = len(asked), world.audio_shape is not None
  has_image = np.array([one.has_image for one in asked])
  letters = [world.vocabulary[letter] for letter in tasks_lib.LETTERS]
  options = np.full((number, len(letters)), vocabulary_lib.PAD)
  for row, one in enumerate(asked):
    options[row, : len(one.choices)] = letters[: len(one.choices)]
  columns = [np.ones(number, bool), has_image, np.zeros(number, bool)]
  relevant = [~has_image, has_image, np.zeros(number, bool)]
  num_modalities = 2 + has_audio
  unknown = np.full(number, -1)
  return question_set.QuestionSet(
    ids=np.array([one.id for one in asked]),
    tasks=np.array([_TASKS[bool(x)] for x in has_image]),
    wordings=np.zeros(number, int),
    tokens=texts.astype(np.int32),
    images=np.stack([one.image(world.image_shape) for one in asked]),
    audio=(
      np.zeros((number, *world.audio_shape), np.float32) if has_audio else None
    ),
    audio_length=np.zeros(number, int) if has_audio else None,
    present=np.stack(columns[:num_modalities], axis=1),
    relevant=np.stack(relevant[:num_modalities], axis=1),
    options=options,
    labels=np.array([one.label for one in asked]),
    shown=unknown,
    spoken=unknown,
    parameter=unknown,
  )
