import json

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data.sources import questions as questions_lib
from btw_jax.pipeline.pretrained import questions
from support import golden
from support import question_files


@pytest.fixture(scope="module")
def answerer():
  return questions.load(
    golden.ROOT / "smolvlm", dtype="float32", batch_size=4, least_mass=0.0
  )


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
  path = question_files.write(tmp_path_factory.mktemp("questions"), 12)
  return questions_lib.entries(path)


@pytest.fixture(scope="module")
def answered(answerer, entries):
  return questions.answer(answerer, entries)


def test_both_kinds_of_questions_have_their_conditions(answered):
  assert {kind: list(a.decisions) for kind, a in answered.items()} == {
    "image_questions": [
      "both", "vision", "text", "misleading_text", "unrelated_facts",
    ],
    "text_questions": [
      "both", "noise_image", "black_image", "white_image", "exchanged_image",
    ],
  }  # fmt: skip


def test_ids_and_labels_are_those_of_the_file(answered, entries):
  for kind, with_image in (
    ("image_questions", True),
    ("text_questions", False),
  ):
    asked = [entry for entry in entries if entry.has_image == with_image]
    assert answered[kind].ids.tolist() == [entry.id for entry in asked]
    labels = [entry.label for entry in asked]
    np.testing.assert_array_equal(answered[kind].labels, labels)


def test_every_condition_changes_the_answers(answered):
  for answers in answered.values():
    both = answers.log_probs["both"]
    for name, log_probs in answers.log_probs.items():
      if name != "both":
        assert np.abs(log_probs - both).max() > 1e-3, name


def test_equal_seeds_give_equal_answers(answerer, entries, answered):
  again = questions.answer(answerer, entries)
  for kind, answers in answered.items():
    for name, log_probs in answers.log_probs.items():
      np.testing.assert_array_equal(log_probs, again[kind].log_probs[name])


def test_a_misleading_statement_names_any_wrong_option(entries):
  rng = np.random.default_rng(0)
  for entry in entries:
    texts = list(entry.choices.values())
    drawn = {questions.wrong_option(entry, rng) for _ in range(50)}
    assert drawn == set(texts) - {texts[entry.label]}


def test_a_fact_that_is_too_long_is_named_before_anything_is_answered(
  tmp_path, caplog, answerer
):
  entries = json.loads(question_files.write(tmp_path, 6).read_text())
  entries[5]["facts"] = ["snow " * 9000]
  (tmp_path / "questions.json").write_text(json.dumps(entries))
  read = questions_lib.entries(tmp_path / "questions.json")
  caplog.set_level("INFO", logger="absl")
  with pytest.raises(errors.InputError, match="entry 5, 'facts' makes .* tok"):
    questions.answer(answerer, read)
  assert "answering" not in caplog.text


def test_undecided_answers_are_counted(entries):
  answerer = questions.load(
    golden.ROOT / "llava", dtype="float32", least_mass=1.0
  )
  answers = questions.answer(answerer, entries[:2])
  for of_kind in answers.values():
    assert any("both: 1 of 1 answers give" in note for note in of_kind.notes)
    np.testing.assert_allclose(of_kind.log_probs["both"], -np.log(3))
    np.testing.assert_array_equal(of_kind.decisions["both"], -1)


def test_other_models_are_refused():
  with pytest.raises(errors.InputError, match="give LLaVA or SmolVLM"):
    questions.load(golden.ROOT / "clip")


def test_a_processor_of_other_sizes_is_refused(tmp_path):
  folder = golden.copy("llava", tmp_path)
  path = folder / "preprocessor_config.json"
  values = json.loads(path.read_text())
  values["crop_size"] = {"height": 12, "width": 12}
  path.write_text(json.dumps(values))
  with pytest.raises(errors.InputError, match="12 x 12 pixels"):
    questions.load(folder)


def test_a_tokenizer_with_another_placeholder_is_refused(tmp_path):
  folder = golden.copy("llava", tmp_path)
  golden.edit_config(folder, image_token_index=33)
  with pytest.raises(errors.InputError, match="<image> is not the token 33"):
    questions.load(folder)


def test_a_picture_that_cannot_be_read_is_named(answerer, tmp_path):
  path = question_files.write(tmp_path, 2)
  (tmp_path / "1.png").write_bytes(b"no picture")
  with pytest.raises(errors.InputError, match=r"entry 1, 'image'.*1\.png"):
    questions.answer(answerer, questions_lib.entries(path))
