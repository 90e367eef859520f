"""Writes the tables of finished runs into the README, between its markers.

python -m experiments.benchmarks.result_tables
python -m experiments.benchmarks.result_tables --tables=beyond_normal
"""

import json
import pathlib
import re

from absl import flags

from btw_jax import errors
from btw_jax.pipeline import files
from btw_jax.pipeline import results_table
from btw_jax.reports import tables as tables_lib
from experiments import app

_RUNS = flags.DEFINE_string("runs", "runs/tables", "folder of the runs")
_README = flags.DEFINE_string("readme", "README.md", "file to write into")

_TABLES = flags.DEFINE_list("tables", [], "those to write; all if empty")

# Tables of all runs, and of programs that leave a note and rows.
_SUMMARY = "summary"
_RECIPES = (
  "digits", "digits_clean", "diabetes", "mosi_npz", "mosi_csv", "digits_moe",
  "digits_clean_moe", "mosi_npz_moe",
)  # fmt: skip
_MEASURED = (
  "study/study.overview",
  "beyond_normal",
  "benchmark_train",
  "benchmark_estimators",
  "benchmark_moe",
  "benchmark_data",
  "benchmark_scaling",
  "benchmark_memory",
  "benchmark_pid",
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
)


def main() -> None:
  """Replaces what stands between the markers of every table."""
  path = pathlib.Path(_README.value)
  text = path.read_text(encoding="utf-8")
  found = re.findall(r"<!-- table: (.+) -->", text)
  if not found:
    raise errors.InputError(f"{path}: has no line '<!-- table: NAME -->'.")
  for name in _TABLES.value or found:
    if name not in found:
      raise errors.InputError(
        f"--tables={name}: {path} has no such marker: use some of"
        f" {', '.join(found)}."
      )
    table = _table(name)
    start, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
    head, _, rest = text.partition(start)
    text = f"{head}{start}\n{table}\n{end}{rest.partition(end)[2]}"
  files.write_text(path, text)


def _table(name):
  if name == _SUMMARY:
    return results_table.summary(
      [
        (recipe, _read(f"{recipe}-{scale}/results.json"))
        for recipe in _RECIPES
        for scale in ("1", "auto")
      ]
    )
  if name in _MEASURED:
    file, _, table = name.partition(".")
    found = _read(f"{file}.json")
    rows = found["tables"][table] if table else found["rows"]
    return tables_lib.measured({"note": found["note"], "rows": rows})
  return results_table.tables(_read(f"{name}/results.json"), style="github")


def _read(name):
  file = pathlib.Path(_RUNS.value, name)
  if not file.exists():
    raise errors.InputError(f"{file}: no such file: launch/tables.sh makes it")
  return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
  app.run(main, {"Tables": ["runs", "readme", "tables"]})
