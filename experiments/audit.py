r"""Audits the predictions of any model: which modalities its decisions rest on.

  python -m experiments.audit --input=predictions --output=runs/audit
  python -m experiments.audit --output=runs/audit \
    --input=both=both.jsonl,vision=vision.jsonl,text=text.jsonl

Reads the answers of a model under several conditions, in the formats of other
programs, and measures all that they allow: weights, information, changed
decisions, interactions. The name of a condition says what the model was shown:
both (everything), text (one modality), vision+text (several), without_vision,
or a changed input such as noise. Leaves audit.html, audit.md, audit.json, and
tables with a row for each question.
"""

import dataclasses

from absl import flags

from btw_jax.pipeline.audit import options as options_lib

from . import app
from . import flags as flags_lib

_INPUT = flags.DEFINE_string(
  "input",
  None,
  "file or folder of predictions, or NAME=FILE for each condition, separated by"
  " commas",
  required=True,
)
_OUTPUT = flags.DEFINE_string(
  "output", "runs/audit", "folder to leave the results in"
)
_FIELDS = dataclasses.fields(options_lib.Options)


def main() -> None:
  """Reads predictions, measures, and prints the tables."""
  from btw_jax.data.answers import catalog
  from btw_jax.pipeline.audit import run
  from btw_jax.reports.audit import tables as audit_tables

  options = flags_lib.read_fields(options_lib.Options)
  run.check_output(_OUTPUT.value)
  answers = run.read(catalog.parse(_INPUT.value), options)
  measured = run.run(answers, options)
  path = run.write(measured, _OUTPUT.value)
  print(audit_tables.write(measured.content))
  print(path)


def start() -> None:
  """Defines flags, and runs the program."""
  flags_lib.define_fields(_FIELDS)
  names = [field.name for field in _FIELDS]
  reading = names[: names.index("reference")]
  groups = {
    "Files": ["input", "output", *reading],
    "Audit": [name for name in names if name not in reading],
  }
  app.run(main, groups)


if __name__ == "__main__":
  start()
