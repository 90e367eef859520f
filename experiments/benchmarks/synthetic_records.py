"""A random data set on disk with the shapes of CMU-MOSEI, and row orders.

An example has 50 time steps of 74 audio, 35 vision and 768 text features.
"""

from collections.abc import Iterable, Iterator
import pathlib
import time

from absl import logging
import numpy as np
import tensorflow_datasets as tfds

from btw_jax.data import builders
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import records
from btw_jax.data import schema
from btw_jax.data import streaming

COUNT, BATCH = 20_000, 256
LAYOUT = {
  "audio": records.RecordSchema(74, 50),
  "vision": records.RecordSchema(35, 50),
  "text": records.RecordSchema(768, 50),
}
# Batches that a turn reads.
BATCHES_PER_TURN = 12
# Examples that are drawn; the data set repeats them, each time with a new id.
NUM_DRAWN = 512


def write(folder: pathlib.Path) -> streaming.Streamed:
  """Writes the records of the data set into a folder and opens them."""
  examples = _examples()
  rows = list(schema.rows(examples, LAYOUT))
  many = ({**rows[i % NUM_DRAWN], "id": str(i)} for i in range(COUNT))
  features = schema.features(LAYOUT, (), subjects=False)
  start = time.perf_counter()
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder,
    dataset_name="mosei",
    split="train",
    filetype_suffix="array_record",
  )
  info = builders.write(
    template, features, many, COUNT, examples_per_shard=1500
  )
  logging.info("wrote the records in %.0f s", time.perf_counter() - start)
  paths = [str(path) for path in info.filepaths]
  reader = records.Reader(paths, LAYOUT, (), subjects=False, name=str(folder))
  return streaming.open_split(reader)


def _examples() -> dataset_lib.Examples:
  rng = np.random.default_rng(0)
  features = {
    modality: rng.normal(
      size=(NUM_DRAWN, layout.num_steps, layout.width)
    ).astype(np.float32)
    for modality, layout in LAYOUT.items()
  }
  return dataset_lib.complete(features, rng.normal(size=NUM_DRAWN))


def turns() -> Iterator[np.ndarray]:
  """Yields, for each turn, the shuffled rows of its batches, `[turn, B]`."""
  rng = np.random.default_rng(0)
  while True:
    rows = rng.permutation(COUNT)[: BATCHES_PER_TURN * BATCH]
    yield rows.reshape(BATCHES_PER_TURN, BATCH)


def drain(items: Iterable) -> None:
  """Consumes an iterable."""
  for _ in items:
    pass
