import gzip
import json

import numpy as np
import pytest
from scipy import special

from btw_jax.data.answers import eval_log
from btw_jax.data.answers import read_options
from support import answer_files

OPTIONS = read_options.ReadOptions()


@pytest.fixture
def world():
  return answer_files.make_world()


def _read(path, records, **options):
  answer_files.write_lines(path / "samples.jsonl", records)
  (condition,) = eval_log.read(
    str(path / "samples.jsonl"), read_options.ReadOptions(**options)
  )
  return condition


def test_options_labels_and_groups(tmp_path, world):
  condition = _read(tmp_path, answer_files.lm_eval_records(world, "both"))
  assert condition.option_texts == world.texts
  assert set(condition.columns) == {"category", "image_id"}
  assert condition.columns["image_id"][:4] == ["0", "0", "1", "1"]
  assert condition.columns["category"][4] == "category 1"
  (note,) = condition.notes
  assert "--length=characters" in note


def _old_form(record):
  """Changes a line to the form before numbers became texts."""
  record["arguments"] = [
    list(pair.values()) for pair in record["arguments"].values()
  ]
  record["filtered_resps"] = [
    [float(value), False] for value, _ in record["filtered_resps"]
  ]
  record["resps"] = [[pair] for pair in record["filtered_resps"]]
  record["target"] = int(record["target"])
  del record["filter"]


def _only_resps(record):
  del record["filtered_resps"]


def _texts_from_arguments(record):
  del record["doc"]["choices"]


def _texts_in_a_mapping(record):
  texts = record["doc"]["choices"]
  record["doc"]["choices"] = {
    "text": texts,
    "label": list("ABCD")[: len(texts)],
  }


def _endings(record):
  record["doc"]["endings"] = record["doc"].pop("choices")
  del record["arguments"]


def _letters_are_fields(record):
  texts = record["doc"].pop("choices")
  record["doc"].update(zip("ABCD", texts, strict=False))
  for letter, pair in zip("ABCD", record["arguments"].values(), strict=False):
    pair["arg_1"] = f" {letter}"


def _other_options(record):
  """Adds options that are not those of the task."""
  record["doc"]["options"] = ["x"] * 7
  del record["doc"]["choices"]


def _target_is_text(record):
  record["target"] = record["doc"]["choices"][int(record["target"])]


def _mutual_information(record):
  """Adds the scores of the options without the question."""
  n = len(record["filtered_resps"])
  record["filtered_resps"] += [["-1.0", "False"]] * n
  for i in range(n):
    text = record["arguments"][f"gen_args_{i}"]["arg_1"]
    record["arguments"][f"gen_args_{n + i}"] = {"arg_0": "", "arg_1": text}


def _mutual_information_without_texts(record):
  _mutual_information(record)
  del record["doc"]["choices"]


@pytest.mark.parametrize(
  "change",
  [_old_form, _only_resps, _texts_from_arguments, _texts_in_a_mapping, _endings,
   _letters_are_fields, _other_options, _target_is_text, _mutual_information,
   _mutual_information_without_texts],
)  # fmt: skip
def test_forms_of_a_line(tmp_path, world, change):
  records = answer_files.lm_eval_records(world, "both")
  for record in records:
    change(record)
  condition = _read(tmp_path, records)
  np.testing.assert_allclose(
    condition.log_probs, world.log_probs("both"), rtol=1e-9
  )
  np.testing.assert_array_equal(condition.labels, world.labels)
  assert list(condition.option_texts) == world.texts
  told = any("without the question" in note for note in condition.notes)
  assert told == ("mutual" in change.__name__)


def test_a_target_is_a_position_although_options_are_numbers(tmp_path, world):
  records = answer_files.lm_eval_records(world, "both")
  for record in records:
    n = len(record["filtered_resps"])
    record["doc"]["choices"] = [str((i + 1) % n) for i in range(n)]
  condition = _read(tmp_path, records)
  np.testing.assert_array_equal(condition.labels, world.labels)


def test_letters_are_no_texts_of_options(tmp_path, world):
  records = answer_files.lm_eval_records(world, "both")
  for record in records:
    del record["doc"]["choices"]
    for letter, pair in zip("ABCD", record["arguments"].values(), strict=False):
      pair["arg_1"] = f" {letter}"
  assert _read(tmp_path, records).option_texts is None


def test_lengths_are_those_of_the_scored_texts(tmp_path, world):
  records = answer_files.lm_eval_records(world, "both")[:1]
  values = [float(value) for value, _ in records[0]["filtered_resps"]]
  for pair, text in zip(
    records[0]["arguments"].values(), (" é", " ab", " abc"), strict=True
  ):
    pair["arg_1"] = text
  for unit, lengths in (("characters", [1, 2, 3]), ("bytes", [2, 2, 3])):
    condition = _read(tmp_path, records, length=unit)
    np.testing.assert_allclose(
      condition.log_probs[0],
      special.log_softmax(np.array(values) / lengths),
      rtol=1e-9,
    )
  with answer_files.refuses("--length=bytes", "samples.jsonl: line 1"):
    _read(
      tmp_path, answer_files.lmms_eval_records(world, "both"), length="bytes"
    )


def test_the_first_filter_is_read(tmp_path, world):
  records = answer_files.lm_eval_records(world, "both")
  other = [
    {**r, "filter": "flexible", "filtered_resps": r["filtered_resps"][::-1]}
    for r in records
  ]
  condition = _read(tmp_path, [*records, *other])
  np.testing.assert_allclose(
    condition.log_probs, world.log_probs("both"), rtol=1e-9
  )
  note = "the filter 'none' is read; 12 lines of other filters are left out"
  assert note in condition.notes


def test_losses_are_read_with_the_flag(tmp_path, world):
  records = answer_files.lmms_eval_records(world, "both")
  for record in records:
    for pair in record["filtered_resps"]:
      pair[0] = pair[0].removeprefix("-")
  with answer_files.refuses("samples.jsonl: line 1", "--sign=loss"):
    _read(tmp_path, records)
  condition = _read(tmp_path, records, sign="loss")
  np.testing.assert_allclose(
    condition.log_probs, world.log_probs("both"), rtol=1e-9
  )


def _generated(world):
  records = answer_files.lm_eval_records(world, "both")
  for record, decision in zip(records, world.decisions("both"), strict=True):
    answer = f"The answer is ({'ABCD'[decision]})."
    record["resps"], record["filtered_resps"] = [[answer]], [answer]
    record["target"] = "ABCD"[int(record["target"])]
    record["arguments"] = {"gen_args_0": {"arg_0": "?", "arg_1": {"until": []}}}
  return records


def test_generated_answers_are_decisions(tmp_path, world):
  records = _generated(world)
  records[3]["filtered_resps"] = ["I cannot tell."]
  condition = _read(tmp_path, records)
  expected = world.decisions("both")
  expected[3] = -1
  np.testing.assert_array_equal(condition.decisions, expected)
  np.testing.assert_array_equal(condition.labels, world.labels)
  np.testing.assert_array_equal(condition.num_options, world.counts)
  assert condition.log_probs is None
  assert condition.notes == ("1 of 12 answers name no option",)


def test_yes_and_no_are_the_options_of_a_log_without_options(tmp_path, world):
  records = answer_files.lmms_eval_records(world, "both")
  for row, record in enumerate(records):
    record["target"] = ("yes", "no")[row % 2]
    record["filtered_resps"] = [("Yes.", "No", "no")[row % 3]]
  condition = _read(tmp_path, records)
  assert condition.option_names == ("no", "yes")
  assert condition.labels.tolist() == [1, 0] * 6
  assert condition.decisions.tolist() == [1, 0, 0] * 4


def test_generated_letters_do_not_tell_the_number_of_options(tmp_path, world):
  records = _generated(world)
  for record in records:
    del record["doc"]
  condition = _read(tmp_path, records)
  assert set(condition.num_options) == {0}
  np.testing.assert_array_equal(condition.decisions, world.decisions("both"))


def test_compressed_logs_and_lists_are_read(tmp_path, world):
  records = answer_files.lm_eval_records(world, "both")
  text = "\n".join(map(json.dumps, records))
  path = tmp_path / "samples.jsonl.gz"
  path.write_bytes(gzip.compress(text.encode()))
  (tmp_path / "samples.json").write_text(json.dumps(records, indent=2))
  for file in (path, tmp_path / "samples.json"):
    (condition,) = eval_log.read(str(file), OPTIONS)
    assert list(condition.ids) == world.ids
  path.write_bytes(path.read_bytes()[:-50])
  with answer_files.refuses("samples.jsonl.gz", "is cut"):
    eval_log.read(str(path), OPTIONS)


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    (lambda r: r[2].pop("doc_id"), ("line 3", "'doc_id'")),
    (lambda r: r[2].update(filtered_resps=[], resps=[]),
     ("line 3", "no answer in 'filtered_resps'")),
    (lambda r: r[2].update(filtered_resps=[["x", "True"]] * 3),
     ("line 3", "not all numbers (x, x, x)")),
    (lambda r: r[2]["filtered_resps"].__setitem__(2, ["nan", "False"]),
     ("line 3", "not all numbers")),
    (lambda r: r[2]["filtered_resps"].pop(), ("line 3", "2 scores, but 3 opt")),
    (lambda r: r[2].update(filtered_resps=[["-1", "True"]]),
     ("line 3", "score of one option")),
    (lambda r: r[2].update(filtered_resps=["B"]), ("others have texts",)),
    (lambda r: r[2].update(doc_id=100), ("line 3", "'100'", "line 1")),
    (lambda r: r[2].update(target="3"), ("line 3", "option 3", "there are 3")),
  ],
)  # fmt: skip
def test_wrong_lines_are_named(tmp_path, world, change, parts):
  records = answer_files.lm_eval_records(world, "both")
  change(records)
  with answer_files.refuses("samples.jsonl", *parts):
    _read(tmp_path, records)


def test_cut_and_broken_lines_are_named(tmp_path, world):
  records = answer_files.lm_eval_records(world, "both")
  path = answer_files.write_lines(tmp_path / "samples.jsonl", records)
  whole = path.read_text()
  path.write_text(whole[:-30])
  with answer_files.refuses("samples.jsonl: line 12 is cut"):
    eval_log.read(str(path), OPTIONS)
  path.write_text(whole.replace("}\n", "\n", 1))
  with answer_files.refuses("samples.jsonl: line 1 is not JSON"):
    eval_log.read(str(path), OPTIONS)
