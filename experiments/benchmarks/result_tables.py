"""Writes the tables of finished runs into documents, between their markers.

  python -m experiments.benchmarks.result_tables
  python -m experiments.benchmarks.result_tables --tables=beyond_normal
  python -m experiments.benchmarks.result_tables --document=README.md,DOC.md

The lines `<!-- table: NAME -->` and `<!-- end: NAME -->` mark the place of a
table in a document. A start line can also choose a part of the table:

  <!-- table: NAME | COLUMN | COLUMN -->    the note and some columns
  <!-- rows: NAME -->                       no note
  <!-- note: NAME -->                       the note alone

`bash launch/tables.sh` trains and measures everything, and writes all tables.
Only those of a GPU come from `bash launch/gpu_tables.sh`, and those of the
language model from `bash launch/language_tables.sh`; a document keeps them as
they are while their files are missing.
"""

import json
import pathlib

from absl import flags

from btw_jax import errors
from btw_jax.pipeline import results_table
from btw_jax.reports import tables as tables_lib
from experiments import app
from experiments.benchmarks import document_markers

_RUNS = flags.DEFINE_string("runs", "runs/tables", "folder of the runs")
_DOCUMENTS = flags.DEFINE_list(
  "document",
  ["README.md", "experiments/RESULTS.md", "launch/README.md"],
  "documents to write into",
)
_TABLES = flags.DEFINE_list("tables", [], "tables to write; all if empty")

# The table of all recipes at both embedding scales.
_SUMMARY = "summary"
_RECIPES = (
  "digits", "digits_clean", "diabetes", "mosi_npz", "mosi_csv", "digits_moe",
  "digits_clean_moe", "mosi_npz_moe",
)  # fmt: skip
# Tables of launch/language_tables.sh, which come from FILE.json too.
_LANGUAGE = (
  "questions/results",
  "questions_recipe/results",
  "spoken/results",
  "spoken_alone/results",
  "language_interactions.grid",
  "language_interactions.masked",
  "language_law",
  "language_interference.effects",
  "language_interference.clean",
  "finetune",
  "benchmark_language",
)
# Tables that a program has written as FILE.json with a note and rows; in
# FILE.TABLE, the file has several tables. Any other name is a run's workdir.
_MEASURED = (
  "study/study.overview",
  "balance/study.overview",
  "balance/study.summary",
  "balance/study.decisions",
  "balance/study.likelihood",
  "balance/study.calibration",
  "balance/study.imbalance",
  "balance/study.choices",
  "balance/study.candidates",
  "gate",
  "gate_information_train",
  "gate_information_valid",
  "joint_test",
  "benchmark_balance",
  "benchmark_gate",
  "benchmark_interface",
  "benchmark_audit",
  "beyond_normal",
  "benchmark_train",
  "benchmark_step_parts",
  "benchmark_estimators",
  "benchmark_moe",
  "benchmark_moe_limit",
  "benchmark_data",
  "benchmark_scaling",
  "benchmark_memory",
  "benchmark_turns",
  "benchmark_pid",
  "benchmark_pretrained",
  "benchmark_parity",
  "benchmark_compiling",
  "interactions_digits",
  "interactions_mosi",
  "interactions_sensory",
  "interference_digits.summary",
  "interference_mosi.effects",
  "interference_mosi.competence",
  "interference_weak.summary",
  "benchmark_interference",
  "benchmark_study",
  "routing",
  "survive",
  *_LANGUAGE,
)
# Tables of launch/gpu_tables.sh, kept as they are where it did not run.
_ON_A_GPU = (
  "gpu_train", "gpu_estimators", "gpu_pid", "gpu_interference", "gpu_moe",
)  # fmt: skip


def main() -> None:
  """Replaces the text between the markers of every table."""
  # `--help` must not wait for JAX.
  from btw_jax.pipeline import files

  documents = {
    path: document_markers.read(path)
    for path in map(pathlib.Path, _DOCUMENTS.value)
  }
  known = {p.name for _, places in documents.values() for p in places}
  for name in _TABLES.value:
    if name not in known:
      raise errors.InputError(
        f"--tables={name}: no document has this marker: use some of"
        f" {', '.join(sorted(known))}."
      )
  texts = {
    path: document_markers.fill(text, _content)
    for path, (text, _) in documents.items()
  }
  # Written last, so that an error leaves every document as it was.
  for path, text in texts.items():
    files.write_text(path, text)


def _content(place):
  """Formats the table of a place; None if it is not to be written."""
  if _TABLES.value and place.name not in _TABLES.value:
    return None
  file = f"{place.name.partition('.')[0]}.json"
  is_missing = not pathlib.Path(_RUNS.value, file).exists()
  of_other_script = place.name in (*_ON_A_GPU, *_LANGUAGE)
  if of_other_script and is_missing and not _TABLES.value:
    return None
  if place.name in (*_MEASURED, *_ON_A_GPU):
    return _measured(place)
  if place.kind != "table" or place.columns:
    raise errors.InputError(
      f"{place.name}: this table has no note and no columns to choose: use the"
      f" marker '<!-- table: {place.name} -->'."
    )
  if place.name == _SUMMARY:
    return results_table.summary(
      [
        (recipe, _read(f"{recipe}-{scale}/results.json"))
        for recipe in _RECIPES
        for scale in ("1", "auto")
      ]
    )
  results = _read(f"{place.name}/results.json")
  return results_table.tables(results, style="github")


def _measured(place):
  """Formats the note and the rows of a table, or one of the two."""
  file, _, name = place.name.partition(".")
  table = _read(f"{file}.json")
  note = table["note"]
  rows = table["tables"][name] if name else table["rows"]
  for column in place.columns:
    if column not in rows[0]:
      raise errors.InputError(
        f"{place.name}: has no column {column!r}: use some of"
        f" {', '.join(rows[0])}."
      )
  if place.columns:
    rows = [{column: row[column] for column in place.columns} for row in rows]
  if place.kind == "note":
    return note
  if place.kind == "rows":
    return tables_lib.markdown(rows)
  return tables_lib.with_note({"note": note, "rows": rows})


def _read(name):
  path = pathlib.Path(_RUNS.value, name)
  if not path.exists():
    script = _script(path)
    raise errors.InputError(
      f"{path}: no such file: run launch/{script} to make it."
    )
  return json.loads(path.read_text(encoding="utf-8"))


def _script(path):
  """Returns the name of the script that makes a file."""
  if path.stem in _ON_A_GPU:
    return "gpu_tables.sh"
  name = str(path.relative_to(_RUNS.value).with_suffix(""))
  of_language = {table.partition(".")[0] for table in _LANGUAGE}
  return "language_tables.sh" if name in of_language else "tables.sh"


if __name__ == "__main__":
  app.run(main, {"Tables": ["runs", "document", "tables"]})
