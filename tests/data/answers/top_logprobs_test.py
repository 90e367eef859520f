import json

import numpy as np
import pytest

from btw_jax.data.answers import read_options
from btw_jax.data.answers import top_logprobs
from support import answer_files

INF = np.inf


@pytest.fixture
def world():
  return answer_files.make_world()


def _read(folder, records, **options):
  path = answer_files.write_lines(folder / "answers.jsonl", records)
  (condition,) = top_logprobs.read(
    str(path), read_options.ReadOptions(**options)
  )
  return condition


def _record(listed, name="q", count=3, chosen=None, **fields):
  """Returns a response of one token: `listed` is token -> probability."""
  answer = {"index": 0, "logprobs": answer_files.logprobs(listed, chosen)}
  return {"doc_id": name, "num_options": count, "choices": [answer], **fields}


def _check(condition, world):
  np.testing.assert_allclose(
    condition.log_probs, world.log_probs("both"), rtol=1e-9
  )
  np.testing.assert_array_equal(condition.labels, world.labels)
  assert list(condition.ids) == world.ids
  assert condition.ceiling is None


def test_plain_responses_and_lists(tmp_path, world):
  records = answer_files.batch_records(world, "both")
  plain = [
    {**r["response"]["body"], "doc_id": r["custom_id"], "label": r["label"],
     "options": dict(zip("ABCD", r["options"], strict=False))}
    for r in records
  ]  # fmt: skip
  _check(_read(tmp_path, plain), world)
  path = tmp_path / "list.json"
  path.write_text(json.dumps(plain))
  (condition,) = top_logprobs.read(str(path), read_options.ReadOptions())
  _check(condition, world)
  assert list(condition.option_texts) == world.texts


@pytest.mark.parametrize("indent", [None, 2])
def test_logs_of_inspect(tmp_path, world, indent):
  samples = [
    {
      "id": r["custom_id"], "epoch": 1, "choices": r["options"],
      "target": r["label"], "output": r["response"]["body"],
    }
    for r in answer_files.batch_records(world, "both")
  ]  # fmt: skip
  path = tmp_path / "log.json"
  path.write_text(json.dumps({"version": 2, "samples": samples}, indent=indent))
  (condition,) = top_logprobs.read(str(path), read_options.ReadOptions())
  _check(condition, world)
  assert list(condition.option_texts) == world.texts


def test_completions_list_tokens_in_mappings(tmp_path):
  answer = {
    "logprobs": {
      "tokens": [" B"],
      "top_logprobs": [{" A": float(np.log(0.25)), " B": float(np.log(0.75))}],
    }
  }
  condition = _read(
    tmp_path, [{"id": "x", "num_options": 2, "choices": [answer]}]
  )
  np.testing.assert_allclose(condition.log_probs, np.log([[0.25, 0.75]]))


def test_the_mass_of_several_tokens_of_a_letter_adds_up(tmp_path):
  listed = {"A": 0.125, " A": 0.125, "▁A": 0.0625, "(A": 0.0625, "B.": 0.25,
            "**C": 0.125, "a": 0.125}  # fmt: skip
  condition = _read(tmp_path, [_record(listed)])
  # A: .125 + .125 + .0625 + .0625. The token "a" is a word and is left out.
  np.testing.assert_allclose(
    condition.log_probs, np.log([[3, 2, 1]]) - np.log(6)
  )


def test_two_tokens_may_have_the_same_text(tmp_path):
  record = _record({"A": 0.5, "B": 0.25})
  (entry,) = record["choices"][0]["logprobs"]["content"]
  entry["top_logprobs"].append({"token": "B", "logprob": float(np.log(0.25))})
  condition = _read(tmp_path, [record])
  np.testing.assert_allclose(np.exp(condition.log_probs), [[0.5, 0.5, 0]])


def test_small_letters_are_read_if_there_is_no_capital_one(tmp_path):
  condition = _read(tmp_path, [_record({"a": 0.5, " b": 0.25, "c": 0.25})])
  np.testing.assert_allclose(condition.log_probs, np.log([[0.5, 0.25, 0.25]]))


def test_tokens_may_be_texts_of_options(tmp_path):
  record = _record({"Yes": 0.5, " no": 0.25, "The": 0.25})
  record["options"] = ["No", "Yes"]
  condition = _read(tmp_path, [record])
  np.testing.assert_allclose(condition.log_probs, np.log([[1 / 3, 2 / 3]]))


def test_options_outside_the_list_have_a_ceiling(tmp_path):
  records = [
    # The smallest listed probability is .125, the rest .0625.
    _record({"A": 0.5, "The": 0.3125, "B": 0.125}, "rest"),
    # The smallest listed probability is .125, the rest .25.
    _record({"A": 0.5, "B": 0.125, "The": 0.125}, "last"),
    _record({"A": 0.5, "B": 0.25, "C": 0.25}, "all"),
    _record({"A": 0.5, "B": 0.5}, "two", count=2),
  ]
  condition = _read(tmp_path, records)
  expected = [[0.8, 0.2, 0], [0.8, 0.2, 0], [0.5, 0.25, 0.25], [0.5, 0.5, 0]]
  np.testing.assert_allclose(np.exp(condition.log_probs), expected)
  np.testing.assert_allclose(
    np.exp(condition.ceiling),
    [[0.5, 0.125, 0.0625], [0.5, 0.125, 0.125], [0.5, 0.25, 0.25],
     [0.5, 0.5, 0]],
  )  # fmt: skip
  (note,) = condition.notes
  assert note.startswith("2 of 4 questions have options outside the list")


def test_a_chosen_token_may_be_less_likely_than_those_outside(tmp_path):
  # Drawn at random, the token B is listed although it is not the third one.
  listed = {"A": 0.5, "The": 0.125, "B": 0.0625}
  condition = _read(tmp_path, [_record(listed, chosen="B")])
  np.testing.assert_allclose(np.exp(condition.ceiling[0, 2]), 0.125)


def test_little_mass_on_letters_gives_the_uniform_distribution(tmp_path):
  records = [
    _record({"The": 0.5, "A": 0.0625, "B": 0.1875}, "little"),
    _record({"The": 0.5, "A": 0.125, "B": 0.1875}, "enough"),
    _record({"The": 0.5, "It": 0.5}, "nothing", label="C"),
  ]
  condition = _read(tmp_path, records)
  np.testing.assert_allclose(
    np.exp(condition.log_probs), [[1 / 3] * 3, [0.4, 0.6, 0], [1 / 3] * 3]
  )
  assert condition.decisions.tolist() == [1, 1, -1]
  # What is uniform by rule is not truncated.
  np.testing.assert_allclose(np.exp(condition.ceiling[[0, 2]]), 1 / 3)
  assert [note.partition(":")[0] for note in condition.notes] == [
    "1 of 3 questions have no letter of an option in the lists of tokens",
    "1 of 3 questions have less than 0.3 of the probability on letters of"
    " options",
    "1 of 3 questions have options outside the list of tokens",
    "2 of 3 questions have no label, or one that names no option",
  ]
  condition = _read(tmp_path, records, least_mass=0.2)
  np.testing.assert_allclose(np.exp(condition.log_probs[0]), [0.25, 0.75, 0])


def test_the_first_token_with_a_letter_is_read(tmp_path):
  record = _record({"The": 0.75, "It": 0.25})
  content = record["choices"][0]["logprobs"]["content"]
  content += answer_files.logprobs({"A": 0.5, "B": 0.25, "C": 0.25})["content"]
  content += answer_files.logprobs({"A": 0.1, "B": 0.1, "C": 0.8})["content"]
  condition = _read(tmp_path, [record])
  np.testing.assert_allclose(np.exp(condition.log_probs), [[0.5, 0.25, 0.25]])
  assert "1 of 1 questions have the first letter" in condition.notes[0]


def test_the_options_may_follow_from_labels_and_answers(tmp_path):
  records = [
    _record({"A": 0.5, "D": 0.25, "I": 0.25}, "one", label="B"),
    _record({"C": 0.75, "A": 0.25}, "two", label="A"),
    _record({"I": 0.75, "A": 0.25}, "three", label="A"),
  ]
  for record in records:
    del record["num_options"]
  condition = _read(tmp_path, records)
  assert condition.num_options.tolist() == [3, 3, 3]
  assert (
    "does not tell the options, so each question has 3" in (condition.notes[0])
  )


def _without_lists(record):
  record["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = []


def _broken(record):
  record["choices"][0]["logprobs"]["content"] = [{"top_logprobs": ["A"]}]


def _positive(record):
  record["choices"][0]["logprobs"]["content"][0]["logprob"] = 5.0


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    (_without_lists, ("line 2 has no 'top_logprobs'", "top_logprobs=20")),
    (lambda r: r["choices"][0].update(logprobs=None), ("line 2 has no 'top_",)),
    (_broken, ("line 2: 'logprobs' is not a list of tokens",)),
    (_positive, ("line 2: 'logprobs' is not a list of tokens",)),
    (lambda r: r.update(choices=[]), ("line 2 has no 'choices'",)),
    (lambda r: r.pop("doc_id"), ("line 2 has none of custom_id, doc_id, id",)),
    (lambda r: r.update(doc_id="q"), ("line 2", "'q'", "line 1")),
    (lambda r: r.update(num_options="x"), ("line 2: 'num_options' is 'x'",)),
    (lambda r: r.update(label=3), ("line 2", "option 3", "there are 3")),
  ],
)
def test_wrong_records_are_named(tmp_path, change, parts):
  records = [_record({"A": 0.5}), _record({"A": 0.5}, "second")]
  change(records[1])
  with answer_files.refuses("answers.jsonl", *parts):
    _read(tmp_path, records)
