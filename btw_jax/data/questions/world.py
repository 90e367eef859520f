"""A closed world of questions whose right answers are known.

A text is `BOS`, the placeholders of the image and of the sound, and the
question, which ends with the word "answer". A text that its answer does not
depend on has room for a statement, which a perturbation puts before the
question.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import numpy as np

from btw_jax import errors
from btw_jax.data.questions import question_set
from btw_jax.data.questions import signals as signals_lib
from btw_jax.data.questions import statements as statements_lib
from btw_jax.data.questions import tasks as tasks_lib
from btw_jax.data.questions import vocabulary as vocabulary_lib

# The last word of a text: the next token is the answer.
LAST = "answer"
_PATCH_SIZE = 4
_FRAMES_PER_TOKEN = {signals_lib.TONES_SHAPE: 4, signals_lib.SPOKEN_SHAPE: 8}
_SHAPES = {
  "none": None,
  "tones": signals_lib.TONES_SHAPE,
  "spoken": signals_lib.SPOKEN_SHAPE,
}
_SPLITS = ("train", "valid", "test")


class World(NamedTuple):
  """The properties of the world that the model depends on.

  Attributes:
    vocabulary: the words.
    statements: what may be put before a question.
    num_tokens: T, the number of tokens of a text.
    image_shape: height and width of an image.
    patch_size: height and width of a patch.
    audio_shape: frames and log-mel features of a sound; None without sounds.
    frames_per_token: frames that make one token.
  """

  vocabulary: vocabulary_lib.Vocabulary
  statements: statements_lib.Statements
  num_tokens: int
  image_shape: tuple[int, int]
  patch_size: int
  audio_shape: tuple[int, int] | None
  frames_per_token: int

  @property
  def num_image_tokens(self) -> int:
    """P, the number of placeholders of an image."""
    return (self.image_shape[0] // self.patch_size) * (
      self.image_shape[1] // self.patch_size
    )

  @property
  def num_audio_tokens(self) -> int:
    """Q, the number of placeholders of a sound; 0 without sounds."""
    if self.audio_shape is None:
      return 0
    return self.audio_shape[0] // self.frames_per_token


@functools.cache
def describe(audio: str = "none") -> World:
  """Describes the world with the given sounds: none, tones or spoken."""
  shape = _SHAPES[audio]
  world = World(
    _vocabulary(),
    statements=None,
    num_tokens=0,
    image_shape=(signals_lib.SIDE, signals_lib.SIDE),
    patch_size=_PATCH_SIZE,
    audio_shape=shape,
    frames_per_token=_FRAMES_PER_TOKEN.get(shape, 1),
  )
  return world._replace(
    statements=statements_lib.make(world.vocabulary),
    num_tokens=max(
      _length(task, wording, world)
      for task in tasks_lib.TASKS.values()
      for wordings in task.wordings.values()
      for wording in wordings
      if shape is not None or not task.has_audio
    ),
  )


def _length(task, wording, world):
  """Returns the number of tokens of a text, with room for a statement."""
  room = 0 if "text" in task.relevant else statements_lib.length()
  return len(_head(task, world)) + room + len(_words(task, wording))


def make(
  split: str,
  num_questions: int,
  seed: int = 0,
  *,
  tasks: Sequence[str],
  audio: str = "none",
  data_dir: str = "",
) -> question_set.QuestionSet:
  """Draws questions of several tasks, in random order.

  In validation and test, each task has the same number of questions, up to one;
  in training it has its share.

  Args:
    split: "train", "valid" or "test"; they share no image, no sound of the
      same speaker and no wording.
    num_questions: N.
    seed: draws digits, images, sounds and wordings.
    tasks: names of `tasks.TASKS`.
    audio: "none", "tones" or "spoken".
    data_dir: folder of the spoken digits.

  Raises:
    InputError: if a task needs sounds and there are none, or a file of spoken
      digits cannot be read.
  """
  for name in tasks:
    if tasks_lib.TASKS[name].has_audio and audio == "none":
      raise errors.InputError(f"{name}: needs sounds: use tones or spoken.")
  world = describe(audio)
  signals = signals_lib.load(split, audio, data_dir)
  rng = np.random.default_rng([seed, _SPLITS.index(split)])
  shares = [
    tasks_lib.TASKS[name].share if split == "train" else 1.0 for name in tasks
  ]
  ends = np.rint(num_questions * np.cumsum(shares) / np.sum(shares))
  counts = np.diff(ends.astype(int), prepend=0)
  parts = [
    _ask(name, split, count, world, signals, rng)
    for name, count in zip(tasks, counts, strict=True)
  ]
  whole = question_set.concatenate(parts)
  whole = whole.take(rng.permutation(num_questions))
  ids = np.array([f"{split}-{seed}-{row}" for row in range(num_questions)])
  return whole._replace(ids=ids)


def _ask(name, split, number, world, signals, rng):
  """Draws `number` questions of one task."""
  task = tasks_lib.TASKS[name]
  parameter = rng.integers(task.num_parameters, size=number)
  shown, spoken = rng.integers(10, size=(2, number))
  if task.answers is tasks_lib.YES_NO and task.has_audio:
    # Half of the answers are yes; else the digits differ.
    other = (shown + rng.integers(1, 10, size=number)) % 10
    spoken = np.where(rng.random(number) < 0.5, shown, other)
  answers = task.answer(shown, spoken, parameter)
  options, labels, contents = _options(task, answers, world.vocabulary, rng)
  wordings = rng.integers(len(task.wordings[split]), size=number)
  num_modalities = 2 + (signals.audio is not None)
  present = np.array([True, True, task.has_audio])[:num_modalities]
  relevant = np.isin(tasks_lib.MODALITIES, task.relevant)[:num_modalities]
  images = signals.images[_pick(signals.digits, shown, rng)]
  if split == "train":
    images = signals_lib.jitter(images, rng)
  sound = {"audio": None, "audio_length": None}
  if signals.audio is not None:
    rows = _pick(signals.spoken, spoken, rng)
    heard = present[2]
    sound = {
      "audio": np.where(heard, signals.audio[rows], 0).astype(np.float32),
      "audio_length": signals.length[rows] * heard,
    }
  return question_set.QuestionSet(
    ids=np.full(number, ""),
    tasks=np.full(number, name),
    wordings=wordings,
    tokens=_tokens(task, split, wordings, parameter, contents, world),
    images=images.astype(np.float32),
    present=np.tile(present, (number, 1)),
    relevant=np.tile(relevant, (number, 1)),
    options=options,
    labels=labels,
    shown=shown,
    spoken=np.where(task.has_audio, spoken, -1),
    parameter=np.where(task.num_parameters > 1, parameter, -1),
    **sound,
  )


def _pick(digits, wanted, rng):
  """Returns for each wanted digit the position of one of its signals."""
  order = np.argsort(digits, kind="stable")
  counts = np.bincount(digits, minlength=10)
  starts = np.cumsum(counts) - counts
  drawn = (rng.random(len(wanted)) * counts[wanted]).astype(int)
  return order[starts[wanted] + drawn]


def _options(task, answers, vocabulary, rng):
  """Returns options `[n, K]`, labels `[n]`, and the contents of choices."""
  ids = np.array([vocabulary[word] for word in task.answers])
  width = len(tasks_lib.NUMBERS)
  options = np.full((len(answers), width), vocabulary_lib.PAD)
  if not task.num_choices:
    options[:, : len(ids)] = ids
    return options, answers, None
  # The right answer, then wrong ones, then all in a random order.
  keys = rng.random((len(answers), len(ids)))
  keys[np.arange(len(answers)), answers] = -1
  chosen = np.argsort(keys, axis=1)[:, : task.num_choices]
  chosen = rng.permuted(chosen, axis=1)
  labels = np.argmax(chosen == answers[:, None], axis=1)
  letters = [vocabulary[x] for x in tasks_lib.LETTERS[: task.num_choices]]
  options[:, : task.num_choices] = letters
  return options, labels, ids[chosen]


def _words(task, wording):
  """Returns the words of a question; those in braces stand for a word."""
  words = [
    word
    for part in wording.split()
    for word in ([part] if "{" in part else vocabulary_lib.split(part))
  ]
  for place in range(task.num_choices):
    words += [tasks_lib.LETTERS[place], f"{{{place}}}"]
  return [*words, LAST]


def _head(task, world):
  """Returns the tokens before the question."""
  tokens = [vocabulary_lib.BOS] + [
    vocabulary_lib.IMAGE
  ] * world.num_image_tokens
  if task.has_audio:
    tokens += [vocabulary_lib.AUDIO] * world.num_audio_tokens
  return tokens


def _tokens(task, split, wordings, parameter, contents, world):
  """Returns the texts `[n, T]` of questions."""
  vocabulary = world.vocabulary
  numbers = np.array([vocabulary[word] for word in tasks_lib.NUMBERS])
  is_pair = task.num_parameters > len(tasks_lib.NUMBERS)
  filled = {
    "{n}": numbers[parameter // 10 if is_pair else parameter],
    "{m}": numbers[parameter % 10],
  }
  for place in range(task.num_choices):
    filled[f"{{{place}}}"] = contents[:, place]
  tokens = np.full((len(wordings), world.num_tokens), vocabulary_lib.PAD)
  head = _head(task, world)
  tokens[:, : len(head)] = head
  for number, wording in enumerate(task.wordings[split]):
    rows = np.flatnonzero(wordings == number)
    for place, word in enumerate(_words(task, wording)):
      value = filled[word][rows] if word in filled else vocabulary[word]
      tokens[rows, len(head) + place] = value
  return tokens.astype(np.int32)


def _vocabulary():
  """Returns the words of all wordings, answers and statements."""
  texts = [*statements_lib.TEXTS, LAST, "yes no"]
  for task in tasks_lib.TASKS.values():
    texts += [w for wordings in task.wordings.values() for w in wordings]
  words = [w for text in texts for w in vocabulary_lib.split(_plain(text))]
  return vocabulary_lib.Vocabulary.from_words(
    [*words, *tasks_lib.NUMBERS, *tasks_lib.LETTERS]
  )


def _plain(text):
  for place in ("{n}", "{m}", "{x}"):
    text = text.replace(place, "")
  return text
