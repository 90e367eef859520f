"""Writes the tables of finished runs into the README, between its markers.

  python -m experiments.readme_tables
"""

import json
import pathlib
import re

from absl import flags

from btw_jax import types
from btw_jax.training import metrics_writer
from experiments import cli
from experiments import report

_RUNS = flags.DEFINE_string("runs", "runs/tables", "folder of the runs")
_README = flags.DEFINE_string("readme", "README.md", "file to write into")

# Each pair is replaced whole.
_MARKER = "<!-- {}: {} -->"


def main() -> None:
  """Replaces what stands between the markers of every run."""
  path = pathlib.Path(_README.value)
  text = path.read_text(encoding="utf-8")
  found = re.findall(r"<!-- table: (.+) -->", text)
  if not found:
    raise types.InputError(f"{path}: has no line '<!-- table: RUN -->'.")
  for run in found:
    file = pathlib.Path(_RUNS.value, run, "results.json")
    if not file.exists():
      raise types.InputError(f"{file}: no such file: launch/tables.sh makes it")
    results = json.loads(file.read_text(encoding="utf-8"))
    table = report.tables(results, style="github")
    start, end = _MARKER.format("table", run), _MARKER.format("end", run)
    head, _, rest = text.partition(start)
    text = f"{head}{start}\n{table}\n{end}{rest.partition(end)[2]}"
  metrics_writer.write_text(path, text)


if __name__ == "__main__":
  cli.run(main, {"Tables": ["runs", "readme"]})
