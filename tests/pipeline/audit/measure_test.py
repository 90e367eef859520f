"""An audit measures what the answers allow, and says what they lack."""

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.pipeline.audit import measure as measure_lib
from btw_jax.pipeline.audit import options as options_lib
from support import audits

pytestmark = pytest.mark.training

_FEW = {"num_permutations": 19, "num_resamples": 100}


def _measure(answers, **options):
  return measure_lib.measure(answers, options_lib.Options(**_FEW, **options))


def test_everything_is_there():
  answers = audits.draw(
    {"both": 2.5, "vision": 1.0, "text": 1.0, "noise": 0.5},
    columns={"category": np.array(["a", "b"] * 60)},
  )
  measured = _measure(answers, by="category")
  content = measured.content
  assert content["lacking"] == {}
  assert [r["condition"] for r in content["conditions"]] == [
    "both", "vision", "text", "noise",
  ]  # fmt: skip
  assert [r["condition"] for r in content["changes"]] == [
    "vision", "text", "noise",
  ]  # fmt: skip
  assert [r["modality"] for r in content["information"]] == ["vision", "text"]
  assert [r["task"] for r in content["interactions"]] == ["", "a", "b"]
  assert set(measured.tables) == {
    "weights.csv", "interactions_vision_text.csv", "training_weights.csv",
  }  # fmt: skip
  for table in measured.tables.values():
    assert {len(column) for column in table.values()} == {120}
  # A task is decomposed by itself.
  (alone,) = _measure(answers.select(np.arange(0, 120, 2))).content[
    "interactions"
  ]
  of_task = content["interactions"][1]
  assert of_task["atoms"]["synergistic"]["mean"] == pytest.approx(
    alone["atoms"]["synergistic"]["mean"], abs=1e-4
  )


@pytest.mark.parametrize(
  ("names", "lacking"),
  [
    (
      ["both"],
      {
        "weights and information", "changed decisions", "interactions (PID)",
        "GapScore and training weights",
      },
    ),
    (
      ["vision", "text"],
      {
        "weights and information", "changed decisions", "interactions (PID)",
        "GapScore and training weights",
      },
    ),
    (
      ["both", "noise"],
      {
        "weights and information", "interactions (PID)",
        "GapScore and training weights",
      },
    ),
    (
      ["all", "a", "b", "c"],
      {"interactions (PID)", "GapScore and training weights"},
    ),
  ],
)  # fmt: skip
def test_what_is_lacking_is_said(names, lacking):
  content = _measure(audits.draw(dict.fromkeys(names, 1.0))).content
  assert set(content["lacking"]) == lacking


def test_the_condition_that_would_make_a_pair_is_named():
  content = _measure(audits.draw(dict.fromkeys(["all", "a", "b", "c"], 1.0)))
  need = content.content["lacking"]["interactions (PID)"]
  assert need.endswith(": without_a")


def test_files_of_pairs_with_and_without_a_control_differ():
  names = [
    "both",
    "vision+text",
    "audio+text",
    "vision+audio",
    "vision",
    "audio",
  ]
  measured = _measure(audits.draw(dict.fromkeys(names, 1.0)))
  assert {
    "interactions_vision_audio_given_text.csv",
    "interactions_text_audio_given_vision.csv",
  } < set(measured.tables)
  rows = measured.content["interactions"]
  files = [name for name in measured.tables if "interactions" in name]
  assert len(files) == len(rows)


def test_modalities_that_inform_are_found_however_many_there_are():
  names = [f"m{number}" for number in range(7)]
  content = _measure(audits.draw(dict.fromkeys([*names, "both"], 2.0))).content
  assert all(row["p_value"] < 0.05 for row in content["information"])


def test_equal_predictions_are_said():
  answers = audits.draw({"both": 1.0, "noise": 1.0})
  same = dict.fromkeys(["both", "noise"], answers.log_probs["both"])
  notes = _measure(audits.make(same)).content["notes"]
  assert notes == [
    "noise has exactly the predictions of both: if both come from files, are"
    " they the same?"
  ]
  assert _measure(answers).content["notes"] == []


def test_cut_lists_of_tokens_have_no_weights():
  answers = audits.draw({"both": 2.0, "vision": 1.0, "text": 1.0})
  cut = audits.make(
    dict(answers.log_probs), ceilings={"text": answers.log_probs["text"]}
  )
  content = _measure(cut).content
  assert "top_logprobs" in content["lacking"]["weights and information"]
  assert content["weights"] == []


def test_hard_answers_without_labels():
  answers = audits.draw({"both": 2.0, "vision": 1.0, "text": 1.0}, labels=None)
  content = _measure(audits.hard(answers)).content
  assert "accuracy, likelihood and calibration" in content["lacking"]
  assert content["interactions"][0]["kind"] == "answers"
  assert content["weights"] == []
  assert content["training_weights"] is None


def test_sensory_pid_needs_a_control():
  answers = audits.draw(
    {"both": 2.0, "vision": 1.0, "audio": 1.0},
    columns={"question": np.arange(120) % 4},
  )
  content = _measure(answers, control="question").content
  assert "Sensory PID" in content["lacking"]


@pytest.mark.parametrize("flag", ["group", "by", "control"])
def test_an_unknown_column_is_refused_before_anything_is_measured(flag):
  answers = audits.draw({"both": 1.0}, columns={"image": np.arange(120)})
  message = f"--{flag}=picture: no file has this column; there are: image"
  with pytest.raises(errors.InputError, match=message):
    _measure(answers, **{flag: "picture"})
