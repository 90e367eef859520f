"""Shows which modality of a run knows what of its decisions.

  python -m experiments.analyze_interactions --workdir=runs/digits
  python -m experiments.analyze_interactions --workdir=runs/mosi --control=text

Partial Information Decomposition of what every weighting decides, for all pairs
of modalities and each against the rest: redundant (R), unique (U1, U2) and
synergistic (S) information. Prints a table, and leaves interactions.json and a
picture of every pair in the workdir.
"""

import dataclasses
import pathlib

from absl import flags

from btw_jax.data import dataset as dataset_lib
from btw_jax.pipeline import files
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import interactions
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.reports import interactions as picture_lib
from btw_jax.reports import tables as tables_lib
from experiments import app

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_SPLIT = flags.DEFINE_enum(
  "split", "test", dataset_lib.SPLITS, "split whose examples to use"
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "folder of other files of the same format (npz, csv)"
)
_JOINT = flags.DEFINE_enum(
  "joint", "grid", list(interactions.JOINTS),
  "what sources are: "
  + "; ".join(f"{name}: {text}" for name, text in interactions.JOINTS.items()),
)  # fmt: skip
_CONTROL = flags.DEFINE_string(
  "control", "", "modality to hold fixed (Sensory PID); none if empty"
)
_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 32, "examples to cross (grid)", 2
)
_NUM_OTHERS = flags.DEFINE_integer(
  "num_others", 8, "examples to take all other modalities from (grid)", 1
)
_NUM_CONTROLS = flags.DEFINE_integer(
  "num_controls", 8, "examples to take the control from (grid)", 1
)
_NUM_BINS = flags.DEFINE_integer(
  "num_bins", 5, "intervals that a quantity is decided in", 2
)
_NUM_ITERATIONS = flags.DEFINE_integer(
  "num_iterations", 1000, "steps of the solver, at most", 1
)
_SEED = flags.DEFINE_integer("seed", 0, "draws examples and noise", 0)
_OUTPUT = flags.DEFINE_string(
  "output", "", "JSON file to write; interactions.json in the workdir if empty"
)


def main() -> None:
  """Decomposes, prints, writes and draws."""
  workdir = pathlib.Path(_WORKDIR.value)
  names = workdir_lib.read(workdir).shape.modalities
  control = interactions.check(names, _CONTROL.value)
  subject = finished_run.load(workdir, _SPLIT.value, _DATA_DIR.value)
  config = subject.written.config
  options = interactions.Options(
    _JOINT.value,
    _NUM_EXAMPLES.value,
    _NUM_OTHERS.value,
    _NUM_CONTROLS.value,
    _NUM_BINS.value,
    _NUM_ITERATIONS.value,
    _SEED.value,
  )
  pairs = interactions.pairs(len(names), control)
  rows = interactions.measure(subject, pairs, options)
  note = (
    f"{config.dataset}, {_SPLIT.value} examples, {options.joint}: mean ±"
    f" standard deviation over {config.num_seeds} seeds"
  )
  found = {
    "note": note,
    "rows": interactions.table(rows, "nats"),
    "options": dataclasses.asdict(options),
    "decompositions": rows,
  }
  output = pathlib.Path(_OUTPUT.value or workdir / "interactions.json")
  files.write_json(output, found)
  pictures = draw(rows, output)
  print(tables_lib.measured(found))
  print(f"\n{tables_lib.markdown(interactions.table(rows, 'bits'))}")
  print("", output, *pictures, sep="\n")


def draw(rows, output):
  """Writes a picture of every pair of sources.

  Args:
    rows: decompositions.
    output: path of the JSON file, beside which they go.

  Returns:
    Their paths.
  """
  found = {}
  for row in rows:
    names = [row["first"], row["second"], row["control"]]
    found.setdefault("_".join(filter(None, names)), []).append(row)
  paths = []
  for name, own in found.items():
    paths.append(output.with_name(f"{output.stem}_{name}.png"))
    picture_lib.picture(own, paths[-1])
  return paths


if __name__ == "__main__":
  what = ["workdir", "split", "data_dir", "output"]
  how = ["joint", "control", "num_examples", "num_others", "num_controls",
         "num_bins", "num_iterations", "seed"]  # fmt: skip
  app.run(main, {"Run": what, "Interactions": how})
