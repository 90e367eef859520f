"""btw_jax.audit takes arrays and files, and gives tables and weights."""

import json

import numpy as np
import pandas as pd
import pytest

import btw_jax
from btw_jax import errors
from support import audits
from support import dataset_files

pytestmark = pytest.mark.training

_FEW = {"num_permutations": 19, "num_resamples": 100}


@pytest.fixture(scope="module")
def answers():
  return audits.draw({"both": 2.5, "vision": 1.0, "text": 1.0})


@pytest.fixture(scope="module")
def audit(answers):
  return btw_jax.audit(
    answers.log_probs, answers.labels, ids=answers.ids, **_FEW
  )


def test_weights_and_training_weights_are_by_name(answers, audit):
  weights = audit.weights("kl+mi")
  assert list(weights) == ["vision", "text"]
  np.testing.assert_allclose(sum(weights.values()), 1, atol=1e-5)
  of_questions = audit.training_weights()
  assert list(of_questions) == answers.ids.tolist()
  assert set(of_questions.values()) == {3.0, 1.0, 0.5}
  with pytest.raises(errors.InputError, match=r"variant=ogm: no variant"):
    audit.weights("ogm")


def test_files_are_those_of_the_command(answers, audit, tmp_path):
  page = audit.save(tmp_path / "audit")
  assert page.name == "audit.html"
  content = json.loads((tmp_path / "audit/audit.json").read_text())
  assert content == json.loads(json.dumps(audit.content))
  rows = dataset_files.read_table(tmp_path / "audit/weights.csv")
  assert [row["id"] for row in rows] == answers.ids.tolist()
  np.testing.assert_allclose(
    [float(row["kl_text"]) for row in rows], audit.weights("kl")["text"]
  )
  assert str(audit) == (tmp_path / "audit/audit.md").read_text()
  assert repr(audit) == "Audit(120 questions: both, vision, text)"
  # The same predictions from a folder of arrays.
  folder = tmp_path / "arrays"
  folder.mkdir()
  for name, values in answers.log_probs.items():
    np.save(folder / f"{name}.npy", values)
  np.save(folder / "labels.npy", answers.labels)
  # Files of a folder come in the order of their names.
  again = btw_jax.audit(folder, modalities="vision,text", **_FEW)
  assert again.content["interactions"] == audit.content["interactions"]
  by_name = {row["condition"]: row for row in again.content["conditions"]}
  assert all(by_name[r["condition"]] == r for r in audit.content["conditions"])


def test_columns_may_be_a_table_of_pandas(answers):
  table = pd.DataFrame({"image": np.arange(120) // 3, "task": ["a", "b"] * 60})
  audit = btw_jax.audit(
    answers.log_probs, columns=table, by="task", group="image", **_FEW
  )
  tasks = [row["task"] for row in audit.content["interactions"]]
  assert tasks == ["", "a", "b"]


def test_what_was_decided_while_reading_is_said(answers, tmp_path, capsys):
  logits = {name: 2 * x for name, x in answers.log_probs.items()}
  np.savez(tmp_path / "answers.npz", **logits)
  for predictions in (logits, tmp_path / "answers.npz"):
    btw_jax.audit(predictions, **_FEW)
    assert "the scores are read as logits" in capsys.readouterr().err


def test_a_failed_audit_leaves_nothing(answers, tmp_path):
  with pytest.raises(errors.InputError):
    btw_jax.audit(answers.log_probs, by="task", output=tmp_path / "audit")
  assert not (tmp_path / "audit").exists()


def test_another_audit_replaces_the_files(answers, audit, tmp_path):
  audit.save(tmp_path)
  (tmp_path / "mine.csv").write_text("kept")
  hard = btw_jax.audit({"both": answers.decisions["both"]}, output=tmp_path)
  assert hard.tables == {}
  assert {path.name for path in tmp_path.iterdir()} == {
    "audit.html", "audit.md", "audit.json", "mine.csv",
  }  # fmt: skip


def test_a_folder_that_cannot_be_written_is_refused_first(answers, tmp_path):
  (tmp_path / "file").write_text("")
  for output in (tmp_path / "file", tmp_path / "file" / "audit"):
    with pytest.raises(errors.InputError, match=r"file is no folder: choose"):
      btw_jax.audit(answers.log_probs, output=output)


@pytest.mark.parametrize(
  ("predictions", "options", "message"),
  [
    ({}, {}, "predictions: a dict: give condition -> array"),
    ({0: np.ones((2, 2)) / 2}, {}, "the condition 0 is no text"),
    ({"both": np.ones((2, 2)) / 2}, {"columns": ["x"]}, "columns: a list"),
    ({"both": np.ones((2, 2)) / 2}, {"foo": 1}, "see btw-jax audit --help"),
    ([[0.5, 0.5]], {}, "predictions: a list: give condition -> array"),
    ({"both": "a.npz", "text": np.ones((2, 2)) / 2}, {}, "some are files"),
    ("a.npz", {"labels": [0, 1]}, "labels: the files hold them"),
    ("none.npz", {}, "none.npz: "),
    ({"both": np.ones((2, 2)) / 2}, {"sign": "up"}, "sign='up': use one of"),
  ],
)
def test_wrong_predictions_are_named(predictions, options, message):
  with pytest.raises(errors.InputError, match=message) as caught:
    btw_jax.audit(predictions, **options)
  assert "\n" not in str(caught.value)
  assert "--" not in str(caught.value).replace("--help", "")


def test_what_predictions_do_not_allow_is_said():
  audit = btw_jax.audit({"both": np.full((9, 2), 0.5)}, **_FEW)
  with pytest.raises(errors.InputError, match="allow no weights .*: give cond"):
    audit.weights()
