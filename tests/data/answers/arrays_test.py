import os
import zipfile

import numpy as np
import pytest

from btw_jax.data.answers import arrays
from btw_jax.data.answers import read_options
from support import answer_files

OPTIONS = read_options.ReadOptions()
PROBS = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])


def test_a_folder_of_arrays(tmp_path):
  np.save(tmp_path / "both.npy", PROBS)
  np.save(tmp_path / "text.npy", np.log(PROBS))
  np.save(tmp_path / "y.npy", [0, 1, 1])
  np.save(tmp_path / "options.npy", ["cat", "dog"])
  np.save(tmp_path / "group_room.npy", [1, 1, 2])
  both, text = arrays.read(str(tmp_path), OPTIONS)
  assert (both.name, text.name) == ("both", "text")
  for condition in (both, text):
    np.testing.assert_allclose(condition.log_probs, np.log(PROBS))
    assert condition.labels.tolist() == [0, 1, 1]
    assert condition.option_names == ("cat", "dog")
    assert condition.columns == {"room": ["1", "1", "2"]}
    assert list(condition.ids) == ["0", "1", "2"]


def test_one_array_is_a_condition(tmp_path):
  np.save(tmp_path / "both.npy", PROBS)
  (condition,) = arrays.read(str(tmp_path / "both.npy"), OPTIONS)
  assert condition.name == "both"
  np.testing.assert_allclose(condition.log_probs, np.log(PROBS))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_the_second_option(dtype):
  answers = arrays.from_arrays(
    {"both": PROBS[:, 1].astype(dtype), "text": PROBS[:, 1:]}, labels=[0, 1, 1]
  )
  for x in answers.log_probs.values():
    np.testing.assert_allclose(x, np.log(PROBS))
  assert answers.num_options.tolist() == [2] * 3
  assert answers.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
  ("values", "names"),
  [
    ([2, 0, -1], None),
    ([2, 0, -1], ["3", "2", "1"]),
    (["C", "A", "?"], None),
    (["cow", "Cat", ""], ["cat", "dog", "cow"]),
  ],
)
def test_hard_answers(values, names):
  answers = arrays.from_arrays({"both": values}, options=names)
  assert answers.decisions["both"].tolist() == [2, 0, -1]
  assert answers.num_options.tolist() == [3] * 3
  assert answers.log_probs == {}
  assert answers.labels is None


def test_words_are_options_in_alphabetical_order():
  answers = arrays.from_arrays({"both": ["yes", "No", "yes"]})
  assert answers.option_names == ("no", "yes")
  assert answers.decisions["both"].tolist() == [1, 0, 1]


def test_hard_answers_beside_scores_have_their_number_of_options():
  answers = arrays.from_arrays({"both": [0, 1, 0], "text": np.ones((3, 4)) / 4})
  assert answers.num_options.tolist() == [4] * 3


def test_names_ids_groups_and_scores_in_memory():
  answers = arrays.from_arrays(
    {"vision": PROBS}, labels=["dog", "cat", "dog"], ids=["x", "y", "z"],
    options=["cat", "dog"], columns={"room": ["a", "a", "b"]},
    options_read=read_options.ReadOptions(scores="logits"),
  )  # fmt: skip
  assert answers.labels.tolist() == [1, 0, 1]
  assert answers.ids.tolist() == ["x", "y", "z"]
  assert answers.option_names == ("cat", "dog")
  assert answers.columns["room"].tolist() == ["a", "a", "b"]
  # exp(.5)/(1 + exp(.5)), because the options differ by .5.
  np.testing.assert_allclose(
    np.exp(answers.log_probs["vision"][0, 0]), np.exp(0.5) / (1 + np.exp(0.5))
  )


def test_missing_options_at_the_end_of_a_row():
  answers = arrays.from_arrays(
    {"both": [[0.5, 0.5, np.nan], [0.25, 0.25, 0.5]]}
  )
  assert answers.num_options.tolist() == [2, 3]


@pytest.mark.parametrize(
  ("conditions", "others", "parts"),
  [
    ({}, {}, ("holds no answers",)),
    ({"a": np.zeros(0, int)}, {}, ("holds no answers",)),
    ({"a": PROBS, "b": PROBS[:2]}, {}, ("'b' has 2 rows", "'a' has 3")),
    ({"a": PROBS}, {"labels": [0, 1]}, ("'labels' has 2 rows", "'a' has 3")),
    ({"a": PROBS}, {"labels": [0, 1, 2]},
     ("'labels': row 2", "option 2", "there are 2")),
    ({"a": PROBS}, {"options": ["x"]}, ("'a'", "2 columns", "1 names")),
    ({"a": PROBS}, {"options": ["x", "x"]}, ("same name twice",)),
    ({"a": PROBS}, {"ids": ["x", "y", "x"]}, ("'a': row 2", "'x'", "row 0")),
    ({"a": [0.5, 1.5]}, {}, ("'a': row 1 is 1.5",)),
    ({"a": np.ones((2, 2, 2))}, {}, ("'a'", "has shape (2, 2, 2)")),
    ({"a": PROBS}, {"options_read": read_options.ReadOptions(sign="up")},
     ("--sign=up", "auto, likelihood, loss")),
    ({"a b": PROBS}, {}, ("'a b'", "letters, digits")),
  ],
)  # fmt: skip
def test_wrong_arrays_are_named(conditions, others, parts):
  with answer_files.refuses(*parts):
    arrays.from_arrays(conditions, **others)


def test_a_pickle_in_an_archive_is_never_run(tmp_path):
  marker = tmp_path / "ran"

  class Attack:
    def __reduce__(self):
      return os.system, (f"touch {marker}",)

  np.savez(tmp_path / "a.npz", both=np.array([Attack()], object))
  with answer_files.refuses("a.npz: cannot be read as npz"):
    arrays.read(str(tmp_path / "a.npz"), OPTIONS)
  assert not marker.exists()


def test_archives_without_arrays_are_named(tmp_path):
  path = tmp_path / "b.npz"
  path.write_bytes(b"PK\x03\x04 no archive")
  with answer_files.refuses("b.npz: cannot be read as arrays"):
    arrays.read(str(path), OPTIONS)
  # A log of inspect-ai is such an archive.
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("header.json", "{}")
  with answer_files.refuses("b.npz: cannot be read", "inspect-ai to JSON"):
    arrays.read(str(path), OPTIONS)


@pytest.mark.parametrize(
  ("labels", "options", "parts"),
  [
    (np.eye(2)[[0, 1, 0]], None, ("'labels'", "(3, 2)", "one column for each")),
    ([0.5, 1.0, 0.0], None, ("'labels'", "with a fraction")),
    (["cat", "dog", "cat"], None, ("'labels'", "none is an option", "cat")),
    (["x", "y", "x"], ["cat", "dog"], ("none is an option (cat, dog)", "x")),
  ],
)
def test_labels_that_are_no_options_are_refused(labels, options, parts):
  with answer_files.refuses(*parts):
    arrays.from_arrays({"both": np.full((3, 2), 0.5)}, labels, options=options)


def test_ragged_rows_are_refused():
  with answer_files.refuses("rows of one have different lengths"):
    arrays.from_arrays({"both": [[0.5, 0.5], [1.0]]})
