"""Compares audits: does synergy go with the accuracy lost without a modality?

  python -m experiments.profile --audits=runs/audit_a,runs/audit_b

Reads the audits of several models or data sets, or of one with --by, and
computes the rank correlation of each part of the information with the accuracy
that is lost without each source. Leaves profile.md, profile.csv, profile.json
and profile.png.
"""

import pathlib

from absl import flags

from . import app

_AUDITS = flags.DEFINE_list(
  "audits", None, "folders of finished audits", required=True
)
_SOURCES = flags.DEFINE_list(
  "sources",
  [],
  "names of the two sources to compare; the first pair that all audits have if"
  " empty",
)
_OUTPUT = flags.DEFINE_string(
  "output", "runs/profile", "folder to leave the results in"
)


def main() -> None:
  """Reads audits and prints the profile."""
  from btw_jax.pipeline.audit import profile

  print(profile.write(_AUDITS.value, _OUTPUT.value, _SOURCES.value))
  print(pathlib.Path(_OUTPUT.value, "profile.png"))


def start() -> None:
  """Defines flags, and runs the program."""
  app.run(main, {"Profile": ["audits", "sources", "output"]})


if __name__ == "__main__":
  start()
