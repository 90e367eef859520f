"""Decomposes what the modalities of a run tell about its decisions.

  python -m experiments.analyze_interactions --workdir=runs/digits
  python -m experiments.analyze_interactions --workdir=runs/mosi --control=text

Partial Information Decomposition of the decisions of every weighting, for all
pairs of modalities and for each modality against all others: redundant (R),
unique (U1, U2) and synergistic (S) information. Prints a table, and leaves
interactions.json and a picture of every pair in the workdir.
"""

import dataclasses
import pathlib

from absl import flags

from btw_jax.pipeline import config_sections as sections

from . import app
from . import flags as flags_lib

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_SPLIT, _DATA_DIR = flags_lib.define_split("split whose examples to use")
_JOINT = flags.DEFINE_enum(
  "joint",
  "grid",
  sections.JOINTS,
  "how the sources are made. grid: the first source of each example with the"
  " second of each other one; binned: the decisions of each modality's own"
  " model; masked: the decisions of the model when all other modalities are"
  " noise",
)
_CONTROL = flags.DEFINE_string(
  "control", "", "modality to hold fixed (Sensory PID); none if empty"
)
_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 32, "number of examples to combine (grid)", 2
)
_NUM_OTHERS = flags.DEFINE_integer(
  "num_others",
  8,
  "number of examples that all other modalities are taken from (grid)",
  1,
)
_NUM_CONTROLS = flags.DEFINE_integer(
  "num_controls", 8, "number of examples that the control is taken from (grid)",
  1,
)  # fmt: skip
_NUM_BINS = flags.DEFINE_integer(
  "num_bins", 5, "number of intervals of a regression's decision", 2
)
_NUM_ITERATIONS = flags.DEFINE_integer(
  "num_iterations", 1000, "largest number of steps of the solver", 1
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "seed of the drawn examples and the noise", 0
)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "JSON file to write; interactions.json in the workdir if empty",
)


def main() -> None:
  """Decomposes, prints, writes and draws."""
  from btw_jax.pipeline import files
  from btw_jax.pipeline import finished_run
  from btw_jax.pipeline import interactions
  from btw_jax.pipeline import progress
  from btw_jax.pipeline import saved_config
  from btw_jax.reports import tables as tables_lib

  workdir = pathlib.Path(_WORKDIR.value)
  modalities = saved_config.read(workdir).shape.modalities
  control = interactions.control_position(modalities, _CONTROL.value)
  run = finished_run.load(workdir, _SPLIT.value, _DATA_DIR.value)
  options = interactions.Options(
    _JOINT.value,
    _NUM_EXAMPLES.value,
    _NUM_OTHERS.value,
    _NUM_CONTROLS.value,
    _NUM_BINS.value,
    _NUM_ITERATIONS.value,
    _SEED.value,
  )
  pairs = interactions.pairs(len(modalities), control)
  with progress.doing("decomposing decisions"):
    rows = interactions.measure(run, pairs, options)
  content = {
    "note": f"{run.saved.config.data.dataset}, {_SPLIT.value} examples,"
    f" {options.joint}: mean ± standard deviation over {len(run.seeds)} seeds",
    "rows": interactions.table(rows, "nats"),
    "options": dataclasses.asdict(options),
    "decompositions": rows,
  }
  output = pathlib.Path(_OUTPUT.value or workdir / "interactions.json")
  files.write_json(output, content)
  pictures = draw(rows, output)
  print(tables_lib.with_note(content))
  print(f"\n{tables_lib.markdown(interactions.table(rows, 'bits'))}")
  print("", output, *pictures, sep="\n")


def draw(rows, output):
  """Draws every pair of sources beside the JSON file; returns the paths."""
  from btw_jax.reports import interactions as picture_lib

  by_pair = {}
  for row in rows:
    names = [row["first"], row["second"], row["control"]]
    by_pair.setdefault("_".join(filter(None, names)), []).append(row)
  paths = []
  for name, pair_rows in by_pair.items():
    paths.append(output.with_name(f"{output.stem}_{name}.png"))
    picture_lib.picture(pair_rows, paths[-1])
  return paths


def start() -> None:
  """Defines flags, and runs the program."""
  run_flags = ["workdir", "split", "data_dir", "output"]
  options = ["joint", "control", "num_examples", "num_others", "num_controls",
             "num_bins", "num_iterations", "seed"]  # fmt: skip
  app.run(main, {"Run": run_flags, "Interactions": options})


if __name__ == "__main__":
  start()
