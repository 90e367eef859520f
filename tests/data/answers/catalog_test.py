import re

import numpy as np
import pytest

from btw_jax.data.answers import catalog
from btw_jax.data.answers import read_options
from support import answer_files
from support import environment

OPTIONS = read_options.ReadOptions()


def test_every_format_has_a_writer():
  assert list(answer_files.WRITERS) == list(catalog.FORMATS)


@pytest.mark.parametrize("name", list(catalog.FORMATS))
def test_formats_agree_with_the_truth(tmp_path, name):
  world = answer_files.make_world()
  inputs = catalog.parse(answer_files.WRITERS[name](tmp_path, world))
  assert {catalog.recognise(path) for path in inputs.values()} == {name}
  answers = catalog.read(inputs, OPTIONS)
  assert answers.ids.tolist() == world.ids
  np.testing.assert_array_equal(answers.labels, world.labels)
  np.testing.assert_array_equal(answers.num_options, world.counts)
  assert set(answers.decisions) == {"both", "vision", "text"}
  assert answers.ceilings == {}
  for condition in world.probs:
    np.testing.assert_array_equal(
      answers.decisions[condition], world.decisions(condition)
    )
    if name in answer_files.HARD:
      assert answers.log_probs == {}
    else:
      np.testing.assert_allclose(
        answers.log_probs[condition], world.log_probs(condition), rtol=1e-9
      )


def test_the_text_of_the_flag_is_parsed():
  assert catalog.parse("a.jsonl") == {"": "a.jsonl"}
  assert catalog.parse("both=a.jsonl,no-image=b=1/c.jsonl") == {
    "both": "a.jsonl", "no-image": "b=1/c.jsonl",
  }  # fmt: skip
  assert catalog.parse("a, b.jsonl") == {"": "a, b.jsonl"}


def test_a_path_may_hold_commas(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("a,b.csv", "c.csv"):
    (tmp_path / name).write_text("")
  assert catalog.parse("both=a,b.csv,text=c.csv") == {
    "both": "a,b.csv", "text": "c.csv",
  }  # fmt: skip
  assert catalog.parse("a,b.csv") == {"": "a,b.csv"}
  (tmp_path / "d.csv").write_text("")
  with answer_files.refuses("--input=c.csv,d.csv", "several files"):
    catalog.parse("c.csv,d.csv")


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("", ("--input", "empty")),
    ("both=a,both=b", ("--input=both=a,both=b", "'both' twice")),
    ("both=a,b", ("'b' is not NAME=FILE",)),
    ("both=", ("'both=' is not NAME=FILE",)),
    ("/runs/seed=1/a.jsonl", ("'/runs/seed'", "letters, digits")),
  ],
)
def test_wrong_texts_of_the_flag_are_named(text, parts):
  with answer_files.refuses(*parts):
    catalog.parse(text)


def test_names_are_given_to_files_with_one_condition(tmp_path):
  world = answer_files.make_world()
  inputs = catalog.parse(answer_files.write_lm_eval(tmp_path, world))
  answers = catalog.read({"blind": inputs["both"]}, OPTIONS)
  assert list(answers.decisions) == ["blind"]
  answers = catalog.read({"": inputs["both"]}, OPTIONS)
  assert list(answers.decisions) == ["both"]
  several = answer_files.write_pid_lvlm(tmp_path, world)
  with answer_files.refuses("pid.json", "3 conditions (vision, text, both)"):
    catalog.read({"blind": several}, OPTIONS)


def test_a_format_may_be_named(tmp_path):
  world = answer_files.make_world()
  inputs = {"": answer_files.write_table(tmp_path, world)}
  options = read_options.ReadOptions(format="table")
  assert len(catalog.read(inputs, options)) == 12
  with answer_files.refuses("answers.csv: line 1 is not JSON"):
    catalog.read(inputs, read_options.ReadOptions(format="lm_eval"))


@pytest.mark.parametrize(
  ("changes", "parts"),
  [
    ({"format": "excel"}, ("--format=excel", "lm_eval, lmms_eval")),
    ({"scores": "percent"}, ("--scores=percent", "auto, probabilities")),
    ({"sign": "minus"}, ("--sign=minus",)),
    ({"length": "tokens"}, ("--length=tokens", "none, characters, bytes")),
    ({"least_mass": 30.0}, ("--least_mass=30.0", "0 to 1")),
  ],
)
def test_unknown_choices_are_named(tmp_path, changes, parts):
  inputs = {"": answer_files.write_table(tmp_path, answer_files.make_world())}
  with answer_files.refuses(*parts):
    catalog.read(inputs, read_options.ReadOptions(**changes))


def test_files_of_no_format_are_named(tmp_path):
  def refuse(content, *parts):
    path = tmp_path / "answers.txt"
    path.write_bytes(content)
    with answer_files.refuses("answers.txt", *parts):
      catalog.read({"": str(path)}, OPTIONS)

  refuse(b"", "is empty")
  refuse(b"\n \n", "is empty")
  refuse(b"a,b\n1,2\n", "has the columns a, b", "id, and p_<option>")
  refuse(b'{"a": 1}\n{"a": 2}\n', "none of the formats", *catalog.FORMATS)
  refuse(b"[]", "none of the formats")
  refuse(b"[1, 2]", "none of the formats")
  refuse(b"\xff\xfe\x00", "UTF-8")
  refuse(b'{"doc_id": 1, "filt', "line 1 is cut")
  refuse(b"[{", "is not JSON")
  with answer_files.refuses("missing.jsonl: no such file"):
    catalog.read({"": str(tmp_path / "missing.jsonl")}, OPTIONS)
  with answer_files.refuses(f"{tmp_path}: is a folder without .npy"):
    catalog.read({"": str(tmp_path)}, OPTIONS)


def test_the_document_names_every_format():
  text = (environment.ROOT / "btw_jax/data/README.md").read_text("utf-8")
  table = text[text.index("| `--format` | written by |") :].split("\n\n")[0]
  named = re.findall(r"^\| `([a-z_]+)` \|", table, re.M)
  assert named == list(catalog.FORMATS)
