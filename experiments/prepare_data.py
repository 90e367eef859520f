r"""Converts a data set to records that training can stream.

  python -m experiments.prepare_data --source=mmsa_mosei \
    --input=aligned_50.pkl --data_dir=prepared
  python -m experiments.train --dataset=tfds:mmsa_mosei --data_dir=prepared

Prints a summary of the data set. A conversion that was stopped starts from the
beginning, and removes the files of the first attempt.
"""

from collections.abc import Callable, Iterable
import contextlib
import io
import pathlib
import sys
import tempfile

from absl import flags
from absl import logging

from btw_jax import errors
from btw_jax.data import catalog

from . import app
from . import flags as flags_lib

_SOURCE = flags.DEFINE_enum(
  "source", None, list(catalog.SOURCES), "format of the input", required=True
)
_INPUT = flags.DEFINE_string(
  "input",
  "",
  "file or folder to read; other programs call it --data_dir",
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir",
  "prepared",
  "folder to write the prepared data set into; other programs read it there,"
  " with --dataset=tfds:NAME",
)
flags_lib.define_table_options()
_SPLIT_BY = flags.DEFINE_enum(
  "split_by",
  "given",
  list(catalog.SPLIT_BY),
  "use the splits as they are given, or draw splits such that no subject is in"
  " two of them",
)
_SEED = flags.DEFINE_integer("seed", 0, "seed of drawn splits", 0, 10**9)
_OVERWRITE = flags.DEFINE_bool(
  "overwrite", False, "replace a data set that is already prepared"
)


def main() -> None:
  """Converts the data set if it is missing, and prints a summary."""
  from btw_jax.data import builders
  from btw_jax.data import prepared
  from btw_jax.pipeline import data_summary
  from btw_jax.pipeline import folders

  options = catalog.Options(
    average_steps=False,
    split_by=_SPLIT_BY.value,
    seed=_SEED.value,
    **flags_lib.table_options(),
  )
  source = catalog.SOURCES[_SOURCE.value]
  if source.reads and not _INPUT.value:
    raise errors.InputError(
      f"--source={_SOURCE.value} reads files ({source.reads}): set --input."
    )
  folder = folders.make("data_dir", _DATA_DIR.value)
  with folders.Lock("data_dir", folder):
    builder = builders.make(
      _SOURCE.value,
      _INPUT.value,
      _DATA_DIR.value,
      options,
      overwrite=_OVERWRITE.value,
    )
    if pathlib.Path(builder.data_dir).exists():
      logging.info("%s exists: --overwrite converts it again", builder.data_dir)
    else:
      _convert(builder)
  data = prepared.open_records(_DATA_DIR.value, _SOURCE.value)
  for note in data.notes:
    logging.info("%s", note)
  print(data_summary.text(data.summary))
  print(f"\n{folder / builder.name / str(builder.version)}")


def _convert(builder):
  """Writes the records, without TFDS's own messages."""
  from btw_jax.data import builders

  builder.observe = _progress
  # TFDS warns that the data set, which is to be written, does not exist.
  logging.get_absl_handler().addFilter(
    lambda record: "has no dataset_info.json" not in record.getMessage()
  )
  with (
    tempfile.TemporaryDirectory() as scratch,
    contextlib.redirect_stdout(io.StringIO()),
  ):
    builders.prepare(builder, scratch)


def _progress(split: str, count: int) -> Callable[[Iterable], Iterable]:
  """Shows a bar on a terminal, and logs a line elsewhere."""
  import tqdm

  logging.info("converting %s: %d examples", split, count)
  return lambda rows: tqdm.tqdm(
    rows, split, count, unit="example", disable=not sys.stderr.isatty()
  )


def start() -> None:
  """Defines flags, and runs the program."""
  names = ["source", "input", "data_dir", "split_by", "seed", "overwrite"]
  app.run(main, {"Conversion": names, "Tables": list(catalog.TABLE_OPTIONS)})


if __name__ == "__main__":
  start()
