import dataclasses

import numpy as np
import pytest

from btw_jax.data.answers import conditions
from btw_jax.data.answers import joining
from support import answer_files


def _condition(world, name, rows=None, **changes):
  """Returns a condition of a world, with some rows in some order."""
  rows = np.arange(len(world.ids)) if rows is None else np.asarray(rows)
  values = {
    "ids": [world.ids[row] for row in rows],
    "num_options": world.counts[rows],
    "decisions": world.decisions(name)[rows],
    "log_probs": world.log_probs(name)[rows],
    "labels": world.labels[rows],
    "option_texts": [world.texts[row] for row in rows],
    "columns": {"image": [f"image {row // 2}" for row in rows]},
  }
  return conditions.Condition(name, f"{name}.jsonl", **{**values, **changes})


@pytest.fixture
def world():
  return answer_files.make_world()


def test_questions_are_matched_by_id(world):
  order = [5, 1, 8, 2]
  answers = joining.join(
    [_condition(world, "vision"), _condition(world, "both", order)]
  )
  # The order is that of the condition that was shown everything.
  assert answers.ids.tolist() == [world.ids[row] for row in order]
  for name in ("vision", "both"):
    np.testing.assert_array_equal(
      answers.log_probs[name], world.log_probs(name)[order]
    )
    np.testing.assert_array_equal(
      answers.decisions[name], world.decisions(name)[order]
    )
  np.testing.assert_array_equal(answers.labels, world.labels[order])
  np.testing.assert_array_equal(answers.num_options, world.counts[order])
  assert answers.columns["image"].tolist() == [f"image {r // 2}" for r in order]
  assert answers.notes == (
    "8 of 12 questions of vision.jsonl are left out, because not all files"
    " have them: 100, 103, 104, ...",
  )
  assert answers.files == {"vision": "vision.jsonl", "both": "both.jsonl"}


def test_the_first_condition_is_the_reference_otherwise(world):
  answers = joining.join(
    [_condition(world, "text", [3, 1]), _condition(world, "vision")]
  )
  assert answers.ids.tolist() == ["103", "101"]


def test_files_without_common_questions_are_named(world):
  other = _condition(world, "vision", ids=[f"x{row}" for row in range(12)])
  with answer_files.refuses("vision.jsonl: no id of it (x0, x1, x2, ...)",
                            "both.jsonl (100"):  # fmt: skip
    joining.join([_condition(world, "both"), other])


def test_options_in_another_order_are_put_in_order(world):
  rows = np.arange(12)
  moved = _condition(world, "vision")
  log_probs, texts = moved.log_probs.copy(), list(moved.option_texts)
  for row in (2, 7):
    n = world.counts[row]
    texts[row] = texts[row][::-1]
    log_probs[row, :n] = log_probs[row, :n][::-1]
  flipped = np.isin(rows, (2, 7))

  def flip(x):
    return np.where(flipped, world.counts - 1 - x, x)

  moved = dataclasses.replace(
    moved, log_probs=log_probs, ceiling=log_probs + 1, option_texts=texts,
    decisions=flip(moved.decisions), labels=flip(moved.labels),
  )  # fmt: skip
  answers = joining.join([_condition(world, "both"), moved])
  expected = world.log_probs("vision")
  np.testing.assert_array_equal(answers.log_probs["vision"], expected)
  np.testing.assert_array_equal(answers.ceilings["vision"], expected + 1)
  np.testing.assert_array_equal(
    answers.decisions["vision"], world.decisions("vision")
  )
  np.testing.assert_array_equal(answers.labels, world.labels)
  assert answers.notes == (
    "vision: the options of 2 of 12 questions are in another order than in"
    " both.jsonl; they are matched by their texts",
  )
  # The condition itself did not change.
  np.testing.assert_array_equal(moved.log_probs, log_probs)


def test_conditions_are_put_in_one_order_if_the_reference_tells_none(world):
  texts = [row[::-1] for row in world.texts]
  answers = joining.join(
    [
      _condition(world, "both", option_texts=None, labels=None),
      _condition(world, "vision", option_texts=texts),
      _condition(world, "text", labels=world.counts - 1 - world.labels),
    ]
  )
  np.testing.assert_array_equal(
    answers.decisions["text"], world.counts - 1 - world.decisions("text")
  )
  np.testing.assert_array_equal(
    answers.decisions["vision"], world.decisions("vision")
  )


def test_the_names_of_options_are_in_the_order_of_the_options(world):
  rows, names = [0, 2], ("cow", "cat", "dog")
  texts = {"option_texts": [("cat", "dog", "cow")] * 2}
  named = {"option_texts": None, "option_names": names}
  answers = joining.join(
    [_condition(world, "both", rows, **named),
     _condition(world, "text", rows, labels=None, **texts)]
  )  # fmt: skip
  assert answers.option_names == ("cat", "dog", "cow")
  chosen = [answers.option_names[d] for d in answers.decisions["both"]]
  assert chosen == [names[d] for d in world.decisions("both")[rows]]


def test_questions_have_the_first_of_the_shared_classes(world):
  rows, names = [0, 1], ("cow", "cat", "dog", "pig")  # 3 and 4 options.
  texts = {"option_texts": [("dog", "cow", "cat"), names], "labels": None}
  for counts in (world.counts[rows], np.zeros(2, int)):
    named = {"option_texts": None, "option_names": names}
    answers = joining.join(
      [_condition(world, "both", rows, **texts),
       _condition(world, "text", rows, num_options=counts, **named)]
    )  # fmt: skip
    np.testing.assert_array_equal(
      answers.log_probs["text"][0], world.log_probs("text")[0, [2, 0, 1, 3]]
    )


def test_conditions_that_contradict_each_other_are_named(world):
  both = _condition(world, "both")

  def refuse(parts, **changes):
    with answer_files.refuses("vision.jsonl", *parts, "both.jsonl"):
      joining.join([both, _condition(world, "vision", **changes)])

  texts = list(world.texts)
  texts[4] = ("cat 4", "two dogs 4", "a pig")
  refuse(("'104'", "a pig", "a horse and a cow 4"), option_texts=texts)
  counts = world.counts.copy()
  counts[4] = 4
  refuse(("'104' has 4 options, but 3",), num_options=counts)
  labels = world.labels.copy()
  labels[4] = (labels[4] + 1) % 3
  was, now = "ABC"[world.labels[4]], "ABC"[labels[4]]
  refuse(("'104'", f"is {now}, but {was}"), labels=labels)


def test_labels_of_one_file_serve_all(world):
  unlabelled = _condition(world, "both", labels=None)
  answers = joining.join([unlabelled, _condition(world, "vision")])
  np.testing.assert_array_equal(answers.labels, world.labels)
  partly = world.labels.copy()
  partly[:6] = -1
  answers = joining.join(
    [_condition(world, "both", labels=partly), _condition(world, "vision")]
  )
  np.testing.assert_array_equal(answers.labels, world.labels)
  assert joining.join([unlabelled]).labels is None


def test_the_number_of_options_follows_from_the_letters(world):
  nothing = np.zeros(12, int)
  hard = {"log_probs": None, "option_texts": None, "num_options": nothing}
  both = _condition(world, "both", **hard)
  expected = max(world.labels.max(), world.decisions("both").max()) + 1
  assert joining.join([both]).num_options.tolist() == [expected] * 12
  # Another condition tells it.
  answers = joining.join([both, _condition(world, "vision")])
  np.testing.assert_array_equal(answers.num_options, world.counts)
  assert "both.jsonl does not tell the texts of options" in answers.notes[0]


def test_conditions_of_different_widths_are_padded(world):
  rows = [0, 2, 4]  # These questions have three options.
  narrow = _condition(world, "both", rows)
  narrow = dataclasses.replace(narrow, log_probs=narrow.log_probs[:, :3])
  answers = joining.join([narrow, _condition(world, "vision")])
  assert {x.shape for x in answers.log_probs.values()} == {(3, 3)}


def test_names_of_conditions(world):
  both = _condition(world, "both")
  unnamed = dataclasses.replace(both, name="")
  assert list(joining.join([unnamed]).decisions) == ["both"]
  odd = dataclasses.replace(both, name="no-image_v1.5+x")
  assert list(joining.join([odd]).decisions) == ["no-image_v1.5+x"]
  with answer_files.refuses("both.jsonl", "called '': use"):
    joining.join([unnamed, unnamed])
  with answer_files.refuses("both.jsonl", "'a/b'"):
    joining.join([dataclasses.replace(both, name="a/b")])
  with answer_files.refuses("'both' is in both.jsonl too"):
    joining.join([both, both])
  with answer_files.refuses("--input"):
    joining.join([])


def test_notes_say_their_condition(world):
  both = _condition(world, "both", notes=("a note",))
  assert joining.join([both]).notes == ("a note",)
  answers = joining.join([both, _condition(world, "vision")])
  assert answers.notes == ("both: a note",)


def test_reversed_scores_are_suspected():
  world = answer_files.make_world(60)
  log_probs = world.log_probs("both")
  worst = np.where(np.isfinite(log_probs), log_probs, np.inf).argmin(1)
  suspected = joining.join([_condition(world, "both", labels=worst)])
  (note,) = suspected.notes
  assert "both: 0.000 of the decisions are right" in note
  assert "--sign=loss" in note
  right = joining.join([_condition(world, "both", labels=log_probs.argmax(1))])
  assert right.notes == ()
  # Another condition may mislead.
  both = _condition(world, "both", labels=log_probs.argmax(1))
  misled = dataclasses.replace(
    both,
    name="misleading_text",
    decisions=worst,
    log_probs=np.where(np.isfinite(log_probs), -log_probs, -np.inf),
  )
  assert joining.join([both, misled]).notes == ()
  assert joining.join([dataclasses.replace(misled, name="both")]).notes
  # Labels at random are right as often as by chance.
  assert joining.join([_condition(world, "both")]).notes == ()


def test_select_keeps_the_rows_together(world):
  answers = joining.join([_condition(world, "both")])
  part = answers.select(np.array([4, 0]))
  assert len(part) == 2
  assert part.ids.tolist() == ["104", "100"]
  np.testing.assert_array_equal(
    part.log_probs["both"], world.log_probs("both")[[4, 0]]
  )
  assert part.labels.tolist() == world.labels[[4, 0]].tolist()
