r"""Converts a data set to records that training can stream.

  python -m experiments.prepare_data --source=mmsa_mosei \
    --input=aligned_50.pkl --data_dir=prepared
  python -m experiments.train --dataset=tfds:mmsa_mosei --data_dir=prepared

Prints what it found. Started again after it was stopped, it starts over and
clears away what was left.
"""

from collections.abc import Callable, Iterable
import contextlib
import io
import pathlib
import sys
import tempfile

from absl import flags
from absl import logging
import tqdm

from btw_jax import errors
from btw_jax.data import builders
from btw_jax.data import catalog
from btw_jax.data import prepared
from btw_jax.pipeline import data_summary
from experiments import app

_SOURCE = flags.DEFINE_enum(
  "source", None, list(catalog.SOURCES), "format of the input", required=True
)
_INPUT = flags.DEFINE_string("input", "", "file or folder to convert")
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "prepared", "folder of prepared data sets"
)
_SPLIT_BY = flags.DEFINE_enum(
  "split_by",
  "given",
  list(catalog.SPLIT_BY),
  "splits as given, or drawn anew with no subject in two of them",
)
_SEED = flags.DEFINE_integer("seed", 0, "of splits that are drawn", 0)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace what is there")


def main() -> None:
  """Converts, or finds what is there, and prints a summary."""
  options = catalog.Options(
    average_steps=False, split_by=_SPLIT_BY.value, seed=_SEED.value
  )
  source = catalog.SOURCES[_SOURCE.value]
  if source.reads and not _INPUT.value:
    raise errors.InputError(
      f"--source={_SOURCE.value} reads files ({source.reads}): set --input."
    )
  builder = builders.make(
    _SOURCE.value,
    _INPUT.value,
    _DATA_DIR.value,
    options,
    overwrite=_OVERWRITE.value,
  )
  if pathlib.Path(builder.data_dir).exists():
    logging.info("%s is there: --overwrite converts it again", builder.data_dir)
  else:
    builder.observe = _progress
    # The library warns that what is to be made is not there.
    logging.get_absl_handler().addFilter(
      lambda record: "has no dataset_info.json" not in record.getMessage()
    )
    # What the library downloads is nothing; what it prints says no more.
    with (
      tempfile.TemporaryDirectory() as scratch,
      contextlib.redirect_stdout(io.StringIO()),
    ):
      builder.download_and_prepare(download_dir=scratch)
  found = prepared.open_records(_DATA_DIR.value, _SOURCE.value)
  for note in found.notes:
    logging.info("%s", note)
  print(data_summary.text(found.summary))
  print(f"\n{builder.data_dir}")


def _progress(split: str, count: int) -> Callable[[Iterable], Iterable]:
  """A bar on a terminal, a line elsewhere."""
  logging.info("converting %s: %d examples", split, count)
  return lambda rows: tqdm.tqdm(
    rows, split, count, unit="example", disable=not sys.stderr.isatty()
  )


if __name__ == "__main__":
  app.run(
    main,
    {
      "Conversion": [
        "source", "input", "data_dir", "split_by", "seed", "overwrite"
      ]
    },
  )  # fmt: skip
