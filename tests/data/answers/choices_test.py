import pytest

from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions

TEXTS = ("One dog", "two cats", "A horse", "no animal")


@pytest.mark.parametrize(
  "text",
  [
    "B", "b", "B.", "(B)", "(b)", "B)", "B:", " B \n", "**B**", "`B`", "[B]",
    "B) two cats", "B. two cats", "(B) two cats", "B: two cats", "**B.** cats",
    "B.\nBecause there are two.", "The answer is B", "The answer is B.",
    "The answer is (B).", "the correct answer is: **B**", "Answer: B",
    "Answer:\nB", "ANSWER: B", "The correct answer is option B.",
    "<answer>B</answer>", "<answer> (B) </answer>",
    "Option B", "I think that the answer is B because there are two.",
    "A dog is no cat. The answer is not A. The answer is B", "\\boxed{B}",
    "So it is $\\boxed{\\text{B}}$.", "Two cats", " two cats. ", "*two cats*",
    "The answer is two cats.", "Answer: Two cats",
  ],
)  # fmt: skip
def test_forms_of_an_answer(text):
  assert choices.read_answer(text, 4, TEXTS) == 1


@pytest.mark.parametrize(
  "text",
  [
    "", None, "A cat is on the mat", "I think there are two", "E", "(E)",
    "The answer is a dog", "The answer is A cat", "Answer: I think so", "AB",
    "Because", "2", "The answer is unclear", "Both A and B are wrong", "-",
    "...", "An answer", "I",
  ],
)  # fmt: skip
def test_other_texts_name_no_option(text):
  assert choices.read_answer(text, 4, TEXTS) == conditions.NONE


def test_the_text_of_an_option_wins_over_its_letter():
  texts = ("B", "C", "A")
  assert [choices.read_answer(t, 3, texts) for t in "ABC"] == [2, 0, 1]
  # Upper and lower case are told apart where both are options.
  assert choices.read_answer("a", 2, ("A", "a")) == 1


def test_the_letter_a_may_be_the_answer():
  assert choices.read_answer("A", 4, TEXTS) == 0
  assert choices.read_answer("A. One dog", 4, TEXTS) == 0
  assert choices.read_answer("The answer is A.", 4, TEXTS) == 0
  assert choices.read_answer("The answer is A because", 4, TEXTS) == 0


def test_the_last_of_several_answers_counts():
  assert choices.read_answer("Answer: A. No: the answer is C.", 4) == 2


def test_letters():
  assert choices.letters(3) == ("A", "B", "C")
  assert choices.letter(25) == "Z"
  assert choices.letter(26) == "27"
