import dataclasses

import numpy as np

from btw_jax.data.answers import conditions
from btw_jax.data.answers import option_order
from support import answer_files

NAMES = ("cat", "dog", "cow")
LOG_PROBS = np.log([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])


def _condition(name, names=(), **changes):
  return conditions.Condition(
    name, f"{name}.csv", ["x", "y"], np.array([3, 3]), LOG_PROBS.argmax(1),
    LOG_PROBS, np.array([1, -1]), option_names=names, **changes,
  )  # fmt: skip


def test_classes_are_matched_by_name():
  # The option that is first here is the third one of the reference.
  own = _condition("text", ("cow", "cat", "dog"))
  aligned, (note,) = option_order.align(own, _condition("both", NAMES))
  np.testing.assert_array_equal(aligned.log_probs, LOG_PROBS[:, [1, 2, 0]])
  assert aligned.decisions.tolist() == [2, 1]
  assert aligned.labels.tolist() == [0, -1]
  assert note.startswith("text: the options of 2 of 2 questions are in another")


def test_other_classes_are_refused():
  own = _condition("text", ("cow", "cat", "pig"))
  with answer_files.refuses("text.csv", "'x'", "pig", "dog", "both.csv"):
    option_order.align(own, _condition("both", NAMES))


def test_letters_are_no_names():
  letters = _condition("text", ("A", "B", "C"))
  same, notes = option_order.align(letters, _condition("both"))
  assert same is letters
  assert notes == []
  _, (note,) = option_order.align(letters, _condition("both", NAMES))
  assert note.startswith("text.csv does not tell the texts of options")


def test_classes_are_matched_with_texts_of_options():
  own = _condition("text", NAMES, option_texts=None)
  texts = [NAMES[::-1], NAMES]
  aligned, _ = option_order.align(own, _condition("both", option_texts=texts))
  np.testing.assert_array_equal(aligned.log_probs[0], LOG_PROBS[0, ::-1])
  np.testing.assert_array_equal(aligned.log_probs[1], LOG_PROBS[1])


def test_the_order_is_that_of_the_first_condition_that_tells_it():
  silent, named = _condition("both"), _condition("vision", NAMES)
  texts = _condition("text", option_texts=[NAMES, NAMES])
  assert option_order.reference_of([silent, named, texts]) is texts
  assert option_order.reference_of([silent, named]) is named
  assert option_order.reference_of([silent]) is silent


def test_equal_texts_of_a_question_keep_their_order():
  texts = [("a", "a", "b"), ("a", "b", "c")]
  own = _condition("text", option_texts=[("b", "a", "a"), texts[1]])
  both = _condition("both", option_texts=texts)
  aligned, _ = option_order.align(own, both)
  np.testing.assert_array_equal(aligned.log_probs[0], LOG_PROBS[0, [1, 2, 0]])
  # The one text that is missing is found although the others are there.
  wrong = dataclasses.replace(own, option_texts=[("b", "b", "a"), texts[1]])
  with answer_files.refuses("text.csv", "'x'"):
    option_order.align(wrong, both)


def test_names_of_the_options():
  assert option_order.names(_condition("a", NAMES), 3) == NAMES
  assert option_order.names(_condition("b"), 3) == ("A", "B", "C")
  same = _condition("c", option_texts=[NAMES, NAMES])
  assert option_order.names(same, 3) == NAMES
  other = _condition("c", option_texts=[NAMES, NAMES[::-1]])
  assert option_order.names(other, 3) == ("A", "B", "C")
