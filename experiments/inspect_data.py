"""Shows what a data set looks like, and what is odd about it.

  python -m experiments.inspect_data --dataset=npz --data_dir=mine

Prints sizes, labels, shapes, what is missing, repeated or shared between
splits, and draws it. What training would refuse is shown too, and then why.
"""

import pathlib

from absl import flags

from btw_jax import errors
from btw_jax import tasks
from btw_jax.data import catalog
from btw_jax.data import prepared
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import data_summary
from btw_jax.reports import overview as picture_lib
from experiments import app

_DATASET = config_lib.define_dataset()
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "file or folder of a data set of files"
)
_TASK = flags.DEFINE_enum(
  "task", "", ["", *tasks.NAMES], "what to predict; inferred if empty"
)
_PICTURE = flags.DEFINE_string("picture", "data.png", "PNG file to write")


def main() -> None:
  """Prints and draws the summary, then checks what training would check."""
  name = _DATASET.value
  options = catalog.Options(
    data_dir=_DATA_DIR.value,
    task=_TASK.value or None,
    average_steps=False,
    # What was prepared has its summary, and may not fit into memory.
    stream=prepared.named(name) is not None,
  )
  found = catalog.read(name, options)
  summary = catalog.summarise(found, options.task)
  print(data_summary.text(summary))
  path = pathlib.Path(_PICTURE.value)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture_lib.picture(name, summary, path)
  except OSError as error:
    raise errors.InputError(
      f"--picture={path}: cannot be written ({error.strerror}): choose another."
    ) from error
  print(f"\n{path}", flush=True)
  catalog.assemble(name, found, options)


if __name__ == "__main__":
  app.run(main, {"Data": ["dataset", "data_dir", "task", "picture"]})
