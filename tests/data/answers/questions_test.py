import numpy as np

from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options
from support import answer_files


def test_groups_are_short_texts_and_whole_numbers():
  columns = questions.Columns(skip=["question"])
  columns.add({"question": "Why?", "image": "a", "size": 2, "score": 0.5})
  columns.add({"image": None, "size": 3, "late": True, "words": "short"})
  columns.add({"image": "a", "words": "x" * 101, "boxes": [1]})
  assert columns.finish() == {
    "image": ["a", "", "a"],
    "size": ["2", "3", ""],
    "late": ["", "True", ""],
  }


def test_words_that_all_questions_share_are_their_options():
  assert questions.shared_names(["Yes", "no", "yes.", None]) == ("no", "yes")
  # Letters and numbers are positions; free texts are no classes.
  for labels in (["A", "B"], ["12", "17"], ["yes"], [], list("abcdef") * 2):
    assert questions.shared_names(labels) == ()
  assert questions.shared_names([f"word {i}" for i in range(21)]) == ()


def test_questions_are_checked():
  def ask(ids):
    places = [f"line {row + 1}" for row in range(len(ids))]
    return questions.Questions("FILE", ids, places)

  options = read_options.ReadOptions()
  with answer_files.refuses("FILE: holds no question"):
    ask([]).scored(np.zeros((0, 2)), options)
  with answer_files.refuses("FILE: line 3 has the id 'a'", "line 1 has too"):
    ask(["a", "b", "a"]).scored(np.zeros((3, 2)), options)
  with answer_files.refuses("FILE: line 2 has no id"):
    ask(["a", ""]).scored(np.zeros((2, 2)), options)
  with answer_files.refuses("FILE: line 1: neither this answer nor"):
    ask(["a"]).decided(np.array([-1]), np.array([2]))


def test_equally_likely_options_are_no_decision():
  places = [f"line {row}" for row in range(5)]
  asked = questions.Questions("FILE", list("abcde"), places)
  values = np.array(
    [
      [0.5, 0.5, np.nan],
      [0.2, 0.4, 0.4],
      [1 / 3, 1 / 3, 1 / 3],
      [0.0, 1.0, np.nan],
      [0.6, 0.4, np.nan],
    ]
  )
  condition = asked.scored(values, read_options.ReadOptions())
  np.testing.assert_array_equal(condition.decisions, [-1, 1, -1, 1, 0])
  assert condition.notes[-1] == (
    "2 of 5 questions have equally likely options, and no decision"
  )


def test_unread_answers_and_labels_are_counted():
  asked = questions.Questions(
    "FILE", ["a", "b"], ["line 1", "line 2"], labels=np.array([1, -1])
  )
  condition = asked.decided(np.array([-1, 0]), np.array([2, 2]))
  assert condition.notes == (
    "1 of 2 answers name no option",
    "1 of 2 questions have no label, or one that names no option",
  )
  assert condition.labels.tolist() == [1, -1]
