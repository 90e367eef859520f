from collections import Counter
import re

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from btw_jax import errors
from btw_jax.data.questions import question_set
from btw_jax.data.questions import signals
from btw_jax.data.questions import tasks
from btw_jax.data.questions import vocabulary
from btw_jax.data.questions import world
from btw_jax.models.language import sizes

_ALL = tuple(tasks.TASKS)
_NUMBER = {word: number for number, word in enumerate(tasks.NUMBERS)}


def _make(split="train", number=1200, seed=0, **settings):
  settings = {"tasks": _ALL, "audio": "tones", **settings}
  return world.make(split, number, seed, **settings)


def _texts(questions, audio="tones"):
  words = world.describe(audio).vocabulary
  return [words.decode(tokens) for tokens in questions.tokens]


def _read(text, task, shown, spoken):
  """Answers a question from its text, independently of the world."""
  words = re.sub(r"<\w+> ?", "", text).split()
  assert words[-1] == "answer"
  question, choices = words[:-1], {}
  if task.endswith("_choice"):
    first = len(question) - 1 - question[::-1].index("a")
    pairs = question[first:]
    choices = dict(zip(pairs[1::2], pairs[::2], strict=True))
    question = question[:first]
  numbers = [_NUMBER[word] for word in question if word in _NUMBER]
  kind = task.removesuffix("_choice")
  answer = {
    "shown": lambda: shown,
    "seen": lambda: shown,
    "spoken": lambda: spoken,
    "arithmetic": lambda: sum(numbers),
    "add": lambda: shown + numbers[0],
    "both_sum": lambda: shown + spoken,
    "compare": lambda: shown > numbers[0],
    "same": lambda: shown == spoken,
  }[kind]()
  if isinstance(answer, bool | np.bool):
    answer = "yes" if answer else "no"
  else:
    answer = tasks.NUMBERS[answer]
  return choices[answer] if choices else answer


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_answers_follow_from_the_text_and_the_digits(split):
  questions = _make(split)
  words = world.describe("tones").vocabulary
  for row, text in enumerate(_texts(questions)):
    expected = _read(
      text,
      questions.tasks[row],
      questions.shown[row],
      questions.spoken[row],
    )
    assert words.words[questions.answers[row]] == expected, text


def test_images_and_sounds_are_those_of_the_digits():
  questions = _make("valid")
  pool = signals.load("valid", "tones", "")
  for row in range(200):
    distance = np.abs(pool.images - questions.images[row]).sum(axis=(1, 2))
    assert pool.digits[distance.argmin()] == questions.shown[row]
    assert distance.min() < 1e-4
    if questions.present[row, 2]:
      distance = np.abs(pool.audio - questions.audio[row]).sum(axis=(1, 2))
      assert pool.spoken[distance.argmin()] == questions.spoken[row]
    else:
      assert not questions.audio[row].any()
      assert questions.audio_length[row] == 0


def test_the_text_has_a_placeholder_for_each_token_of_what_is_present():
  layout = world.describe("tones")
  questions = _make()
  images = np.sum(questions.tokens == vocabulary.IMAGE, axis=1)
  np.testing.assert_array_equal(images, layout.num_image_tokens)
  sounds = np.sum(questions.tokens == vocabulary.AUDIO, axis=1)
  expected = layout.num_audio_tokens * questions.present[:, 2]
  np.testing.assert_array_equal(sounds, expected)


def test_texts_leave_room_for_a_statement_where_they_do_not_matter():
  layout = world.describe("tones")
  questions = _make()
  lengths = np.sum(questions.tokens != vocabulary.PAD, axis=1)
  # There is no padding before the last word.
  for tokens, length in zip(questions.tokens, lengths, strict=True):
    assert np.all(tokens[:length] != vocabulary.PAD)
  free = ~questions.relevant[:, 0]
  longest = layout.statements.facts.shape[1]
  assert np.all(lengths[free] + longest <= layout.num_tokens)


@pytest.mark.parametrize("audio", ["none", "tones"])
def test_texts_are_short(audio):
  layout = world.describe(audio)
  assert layout.num_tokens <= 40
  assert layout.statements.facts.shape[1] <= 7
  for task in tasks.TASKS.values():
    for wording in np.concatenate(list(task.wordings.values())):
      assert len(vocabulary.split(wording.replace("{", ""))) <= 15


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
  split=st.sampled_from(["train", "valid", "test"]),
  number=st.integers(1, 70),
  seed=st.integers(0, 2**31),
  names=st.lists(st.sampled_from(_ALL), min_size=1, unique=True),
)
def test_any_number_of_questions_is_shared_among_tasks(
  split, number, seed, names
):
  questions = _make(split, number, seed, tasks=names)
  assert len(set(questions.ids)) == number
  shares = [tasks.TASKS[n].share if split == "train" else 1 for n in names]
  for name, share in zip(names, shares, strict=True):
    expected = number * share / sum(shares)
    assert abs(np.sum(questions.tasks == name) - expected) <= 1
  assert questions.tokens.shape == (number, world.describe("tones").num_tokens)
  assert not np.any(questions.tokens == vocabulary.UNKNOWN)
  assert not np.any(questions.answers == vocabulary.PAD)
  assert np.array_equal(questions.spoken >= 0, questions.present[:, 2])
  repeated = _make(split, number, seed, tasks=names)
  np.testing.assert_array_equal(questions.tokens, repeated.tokens)
  np.testing.assert_array_equal(questions.audio, repeated.audio)


def test_a_digit_is_drawn_as_often_as_another():
  questions = _make("test", 20_000, tasks=("add", "both_sum", "arithmetic"))
  both = questions.tasks == "both_sum"
  add, pair = questions.tasks == "add", questions.tasks == "arithmetic"
  for drawn, values in (
    (questions.shown, 10),
    (questions.spoken[both], 10),
    (questions.parameter[add], 10),
    (questions.parameter[pair], 100),
  ):
    counts = np.bincount(drawn, minlength=values)
    assert stats.chisquare(counts).pvalue > 1e-6
  # The image, irrelevant to a sum in the text, is independent of it.
  table = np.zeros((10, 10))
  np.add.at(table, (questions.shown[pair], questions.parameter[pair] // 10), 1)
  assert stats.chi2_contingency(table).pvalue > 1e-6


def test_splits_share_no_wording_and_no_image():
  for task in tasks.TASKS.values():
    wordings = [set(w) for w in task.wordings.values()]
    assert len(set.union(*wordings)) == sum(map(len, wordings))
  pools = [signals.load(s, "none", "") for s in ("train", "valid", "test")]
  assert sum(len(pool.digits) for pool in pools) == 1797
  images = np.concatenate([p.images.reshape(-1, 64) for p in pools])
  assert len(np.unique(images, axis=0)) == 1797


def test_words_of_held_out_wordings_are_learned_in_training():
  for name, task in tasks.TASKS.items():
    known = {w for text in task.wordings["train"] for w in text.split()}
    for split in ("valid", "test"):
      words = {w for text in task.wordings[split] for w in text.split()}
      assert words <= known, (name, words - known)


def test_questions_depend_on_split_and_seed_only():
  first, again = _make(number=60), _make(number=60)
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a, b)
  other = _make(number=60, seed=1)
  assert np.any(first.tokens != other.tokens)
  assert np.any(first.images != other.images)
  whole = _make("test", 60).tokens
  assert np.any(whole != first.tokens)


def test_every_task_has_as_many_questions_and_every_answer_occurs():
  questions = _make("test", 400 * len(_ALL))
  for name, task in tasks.TASKS.items():
    where = questions.tasks == name
    assert where.sum() == 400
    words = world.describe("tones").vocabulary.words
    answers = [words[a] for a in questions.answers[where]]
    given = task.answers
    if task.num_choices:
      given = tasks.LETTERS[: task.num_choices]
    assert set(answers) <= set(given)
    if task.num_choices:
      counts = np.array([answers.count(letter) for letter in given])
      # Five standard deviations of a count.
      share = 1 / len(given)
      spread = np.sqrt(400 * share * (1 - share))
      assert np.all(np.abs(counts - 400 * share) < 5 * spread)
  same = questions.take(questions.tasks == "same")
  assert 0.38 < np.mean(same.shown == same.spoken) < 0.62


def test_hard_tasks_have_a_larger_share_of_training():
  counts = Counter(_make("train", 11_000).tasks.tolist())
  total = sum(task.share for task in tasks.TASKS.values())
  for name, task in tasks.TASKS.items():
    assert abs(counts[name] - 11_000 * task.share / total) <= 1
  assert counts["arithmetic_choice"] > 2 * counts["shown"]


def test_relevance_is_that_of_the_task():
  questions = _make("test", 120)
  for name, relevant in zip(questions.tasks, questions.relevant, strict=True):
    named = {m for m, r in zip(tasks.MODALITIES, relevant, strict=True) if r}
    assert named == set(tasks.TASKS[name].relevant)
  assert not np.any(questions.relevant & ~questions.present)


def test_training_images_are_jittered_and_stay_in_range():
  questions = _make("train", 600)
  assert questions.images.min() >= 0
  assert questions.images.max() <= 1
  pool = signals.load("train", "none", "").images
  exact = [np.any(np.all(pool == x, axis=(1, 2))) for x in questions.images]
  assert not any(exact)


def test_a_shift_moves_an_image_by_at_most_one_pixel():
  image = np.zeros((200, 8, 8))
  image[:, 4, 4] = 1.0
  moved = signals.jitter(image, np.random.default_rng(0))
  brightest = moved.reshape(200, -1).argmax(axis=1)
  rows, columns = np.unravel_index(brightest, (8, 8))
  assert set(rows) == set(columns) == {3, 4, 5}


def test_a_batch_holds_the_questions():
  questions = _make("test", 36)
  batch = questions.to_batch()
  tokens = batch.features[:, 0, : questions.tokens.shape[1]]
  np.testing.assert_array_equal(tokens, questions.tokens)
  images = batch.features[:, 1].reshape(-1, 8, 8)
  np.testing.assert_array_equal(images, questions.images)
  np.testing.assert_array_equal(batch.target, questions.answers)
  np.testing.assert_array_equal(batch.relevant, questions.relevant)
  np.testing.assert_array_equal(
    batch.sequences[0].values[:, 0], questions.audio
  )
  silent = world.make("test", 16, tasks=("add",), audio="none").to_batch()
  assert silent.present.shape == (16, 2)
  assert silent.sequences == ()


def test_modalities_are_recombined_by_rows():
  questions = _make("test", 40)
  rows = np.stack([np.arange(40), np.arange(40)[::-1], np.full(40, 3)], axis=1)
  mixed = questions.recombine(rows)
  np.testing.assert_array_equal(mixed.tokens, questions.tokens)
  np.testing.assert_array_equal(mixed.images, questions.images[::-1])
  np.testing.assert_array_equal(mixed.shown, questions.shown[::-1])
  np.testing.assert_array_equal(mixed.audio, questions.audio[[3] * 40])
  np.testing.assert_array_equal(mixed.spoken, [questions.spoken[3]] * 40)


def test_sets_are_joined_and_split():
  questions = _make("test", 24)
  parts = [questions.take(np.arange(10)), questions.take(np.arange(10, 24))]
  joined = question_set.concatenate(parts)
  for a, b in zip(joined, questions, strict=True):
    np.testing.assert_array_equal(a, b)


def test_statements_fit_the_slot_and_name_their_answer():
  layout = world.describe("tones")
  statements, words = layout.statements, layout.vocabulary
  for a, answer in enumerate(statements.answers):
    for tokens in statements.misleading[a]:
      assert answer in tokens
      assert vocabulary.UNKNOWN not in tokens
  digits = {words[word] for word in tasks.DIGITS}
  assert set(statements.answers[statements.families == 0]) == digits
  assert not np.isin(statements.facts, statements.answers[:10]).any()
  assert len(statements.facts) >= 12


def test_sounds_are_needed_by_some_tasks():
  with pytest.raises(errors.InputError, match="same: needs sounds"):
    world.make("test", 10, tasks=("same",), audio="none")


def test_the_model_reads_the_tokens_of_the_world():
  """Models import no data; the ids of both must agree."""
  assert sizes.PAD == vocabulary.PAD
  assert sizes.BOS == vocabulary.BOS
  assert sizes.IMAGE_TOKEN == vocabulary.IMAGE
  assert sizes.AUDIO_TOKEN == vocabulary.AUDIO
  assert sizes.UNKNOWN == vocabulary.UNKNOWN
