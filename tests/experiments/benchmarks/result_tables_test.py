import json

from support import programs

_DOCUMENT = """<!-- table: gpu_train -->
measured before
<!-- end: gpu_train -->
<!-- table: language_interactions.grid -->
decomposed before
<!-- end: language_interactions.grid -->
<!-- table: spoken/results -->
heard before
<!-- end: spoken/results -->
<!-- table: routing -->
<!-- end: routing -->
"""


def test_the_tables_of_a_gpu_stay_where_they_were_not_measured(tmp_path):
  document = tmp_path / "page.md"
  document.write_text(_DOCUMENT, encoding="utf-8")
  table = {"note": "cpu", "rows": [{"expert": "1"}]}
  (tmp_path / "routing.json").write_text(json.dumps(table), encoding="utf-8")
  flags = (f"--runs={tmp_path}", f"--document={document}")

  programs.run("benchmarks.result_tables", *flags)
  text = document.read_text(encoding="utf-8")
  assert "measured before" in text and "| expert   |" in text

  done = programs.run(
    "benchmarks.result_tables", *flags, "--tables=gpu_train", status=2
  )
  assert "run launch/gpu_tables.sh to make it" in done.stderr

  (tmp_path / "gpu_train.json").write_text(json.dumps(table), encoding="utf-8")
  programs.run("benchmarks.result_tables", *flags)
  assert "measured before" not in document.read_text(encoding="utf-8")


def test_the_tables_of_the_language_model_stay_where_they_were_not_measured(
  tmp_path,
):
  document = tmp_path / "page.md"
  document.write_text(_DOCUMENT, encoding="utf-8")
  flags = (f"--runs={tmp_path}", f"--document={document}")
  table = {"note": "cpu", "rows": [{"expert": "1"}]}
  (tmp_path / "routing.json").write_text(json.dumps(table), encoding="utf-8")
  for name in ("language_interactions.grid", "spoken/results"):
    done = programs.run(
      "benchmarks.result_tables", *flags, f"--tables={name}", status=2
    )
    assert "run launch/language_tables.sh to make it" in done.stderr

  rows = [{"task": "shown", "test, %": "97.0"}]
  (tmp_path / "language_interactions.json").write_text(
    json.dumps({"note": "two seeds", "tables": {"grid": rows}}),
    encoding="utf-8",
  )
  programs.run("benchmarks.result_tables", *flags)
  text = document.read_text(encoding="utf-8")
  assert "decomposed before" not in text and "heard before" in text
  assert "two seeds" in text and "| shown  | 97.0      |" in text
