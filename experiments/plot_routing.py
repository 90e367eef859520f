"""Draws which experts the modalities of a run use, and compares two groups.

  python -m experiments.plot_routing --workdir=runs/moe --apart=noise0,noise1

Reads routing.csv, which training with --model=moe leaves in the workdir.
"""

import pathlib

from absl import flags

from btw_jax import errors

from . import app

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_RUN = flags.DEFINE_string("run", "uniform", "weighting whose experts to show")
_STRENGTH = flags.DEFINE_float(
  "strength", 0.0, "strength of the weighting; 0 if uniform"
)
_APART = flags.DEFINE_list(
  "apart",
  [],
  "modalities to compare with all others, for example those of noise",
)
_PICTURE = flags.DEFINE_string(
  "picture", "", "PNG file to write; routing.png in the workdir if empty"
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")


def main() -> None:
  """Draws, and prints mean overlaps."""
  from btw_jax.pipeline import files
  from btw_jax.reports import routing
  from btw_jax.reports import tables as tables_lib

  workdir = pathlib.Path(_WORKDIR.value)
  path = workdir / "routing.csv"
  if not path.exists():
    raise errors.InputError(
      f"{path}: no such file: set --workdir to a run of --model=moe."
    )
  picture = pathlib.Path(_PICTURE.value or workdir / "routing.png")
  shares = routing.read(path, _RUN.value, _STRENGTH.value)
  layers = routing.compare(shares, _APART.value) if _APART.value else []
  routing.picture(shares, picture)
  note = (
    f"{_RUN.value}: share of experts that two modalities have in common, mean"
    f" ± standard deviation over {len(shares.values)} seeds"
  )
  rows = [
    {
      "layer": number,
      **{name: tables_lib.mean_std(v, 1.0, 2) for name, v in layer.items()},
    }
    for number, layer in enumerate(layers, 1)
  ]
  table = {"note": note, "rows": rows}
  if rows:
    print(tables_lib.with_note(table))
  if _OUTPUT.value:
    files.write_json(_OUTPUT.value, table)
  print(picture)


def start() -> None:
  """Defines flags, and runs the program."""
  names = ["workdir", "run", "strength", "apart", "picture", "output"]
  app.run(main, {"Routing": names})


if __name__ == "__main__":
  start()
