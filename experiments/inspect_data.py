"""Shows the content of a data set, and what is unusual about it.

  python -m experiments.inspect_data --dataset=npz --data_dir=mine

Prints sizes, labels, shapes, what is missing, repeated or shared between
splits, and what the reader decided; --picture draws it. A data set that
training would refuse is shown too, followed by the reason.
"""

import pathlib

from absl import flags

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.pipeline import config_sections as sections

from . import app
from . import flags as flags_lib

_DATASET = flags_lib.define_dataset()
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "file or folder of the data set"
)
_TASK = flags.DEFINE_enum(
  "task", "", ["", *sections.TASKS], "kind of target; inferred if empty"
)
flags_lib.define_table_options()
_PICTURE = flags.DEFINE_string(
  "picture", "", "PNG file to write; no picture by default"
)


def main() -> None:
  """Prints and draws a summary, then checks the data as training does."""
  from btw_jax.data import assembly
  from btw_jax.pipeline import data_summary
  from btw_jax.reports import overview as picture_lib

  name = _DATASET.value
  options = catalog.Options(
    data_dir=_DATA_DIR.value,
    task=_TASK.value or None,
    average_steps=False,
    # A prepared data set has a summary, and may not fit into memory.
    stream=catalog.prepared_name(name) is not None,
    **flags_lib.table_options(),
  )
  loaded = catalog.read(name, options)
  summary = assembly.summarise(loaded, options.task)
  print(data_summary.text(summary))
  if _PICTURE.value:
    path = pathlib.Path(_PICTURE.value)
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      picture_lib.picture(name, summary, path)
    except OSError as error:
      raise errors.InputError(
        f"--picture={path}: cannot be written ({error.strerror}): choose"
        " another."
      ) from error
    print(f"\n{path}")
  # Printed before the checks, which may refuse the data.
  print(*["", *loaded.notes], sep="\n", flush=True)
  for note in assembly.assemble(name, loaded, options).notes:
    if note not in loaded.notes:
      print(note)


def start() -> None:
  """Defines flags, and runs the program."""
  names = ["dataset", "data_dir", "task", *catalog.TABLE_OPTIONS, "picture"]
  app.run(main, {"Data": names})


if __name__ == "__main__":
  start()
