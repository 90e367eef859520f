"""The scaled arrays of a named data set, with a seed axis, or its batches."""

from collections.abc import Mapping, Sequence
import dataclasses

from absl import logging
import jax
import numpy as np
import psutil

from btw_jax import types
from btw_jax.data import assembly
from btw_jax.data import batch_source
from btw_jax.data import batching
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import prepared
from btw_jax.data import scaling
from btw_jax.data import streaming

READINGS = ("auto", "memory", "stream")
# The peak memory of reading a data set into memory, as a multiple of the size
# of its features; `experiments.benchmarks --suite=data` measures it.
COPIES = 4


@dataclasses.dataclass(frozen=True)
class Reading:
  """The choice between memory and disk.

  Attributes:
    how: a name of `READINGS`: read into memory, or stream batches from disk;
      "auto" streams a prepared data set if reading it would take more than half
      of the free memory.
    num_buckets: the maximum number of batch shapes when streaming.
  """

  how: str = "auto"
  num_buckets: int = 4


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The data that the runs of a study train and validate on.

  Attributes:
    datasets: one per seed, or a single one that all seeds share.
    scalers: one per data set, fitted on its training split.
    splits: split -> `Batch`, with a leading S axis unless shared, or
      `batch_source.DiskBatches` if it stays on disk.
  """

  datasets: Sequence[dataset_lib.Dataset]
  scalers: Sequence[scaling.Scaler]
  splits: Mapping[str, types.Batch | batch_source.DiskBatches]

  @property
  def dataset(self) -> dataset_lib.Dataset:
    """The first data set: all have the same names, widths and sizes."""
    return self.datasets[0]


def read_datasets(
  name: str,
  options: catalog.Options,
  seeds: Sequence[int],
  *,
  split_per_seed: bool,
  reading: Reading,
  loaded: dataset_lib.LoadedSplits | None = None,
) -> list[dataset_lib.Dataset]:
  """Reads a data set, once for all seeds or once for each.

  Args:
    name: a name of `catalog.SOURCES`, "tfds:NAME" for a prepared data set, or
      `catalog.ARRAYS` if `loaded` is given.
    options: the options of its loader; their seed is replaced.
    seeds: S seeds.
    split_per_seed: draw held-out examples and noise anew for each seed, so that
      results do not depend on one split. If nothing is drawn, or examples are
      streamed, all seeds share one data set.
    reading: into memory or batch by batch.
    loaded: the splits, if they are in memory; nothing is read then.

  Returns:
    One data set per seed, or one that all seeds share.
  """
  stream = streams(name, options, seeds, reading)
  options = dataclasses.replace(options, stream=stream)

  def load_for_seed(seed):
    options_of_seed = dataclasses.replace(options, seed=seed)
    if loaded is None:
      return assembly.load(name, options_of_seed)
    return assembly.assemble(name, loaded, options_of_seed)

  datasets = [load_for_seed(seeds[0])]
  if split_per_seed and datasets[0].drawn and not stream:
    datasets += [load_for_seed(seed) for seed in seeds[1:]]
  return datasets


def prepare(
  datasets: Sequence[dataset_lib.Dataset], reading: Reading
) -> Inputs:
  """Scales data sets, one per seed or one for all, and stacks their splits.

  Raises:
    InputError: if a modality that stays on disk is constant.
  """
  scalers = [scaling.fit(dataset) for dataset in datasets]
  on_disk = datasets[0].splits["train"].on_disk
  if on_disk:
    _check_varies(datasets[0], scalers[0])
  splits = {
    split: stack(
      [dataset.splits[split] for dataset in datasets], scalers, reading
    )
    for split in datasets[0].splits
  }
  if on_disk:
    for split, disk_batches in splits.items():
      logging.info("%s: %s", split, disk_batches)
  return Inputs(datasets, scalers, splits)


def stack(
  examples: Sequence[dataset_lib.Examples | streaming.Streamed],
  scalers: Sequence[scaling.Scaler],
  reading: Reading,
) -> types.Batch | batch_source.DiskBatches:
  """Returns the scaled arrays of a split, or its batches on disk.

  There are as many examples as scalers, or one for all. The arrays are `[S, N,
  ...]`, or `[N, ...]` if there is one scaler. `reading` gives the number of
  buckets of a split on disk.
  """
  if examples[0].on_disk:
    return batch_source.open_batches(
      examples[0], scalers[0], reading.num_buckets
    )
  if len(examples) < len(scalers):
    examples = list(examples) * len(scalers)
  batches = [
    batching.stack(*pair) for pair in zip(examples, scalers, strict=True)
  ]
  if len(batches) == 1:
    return batches[0]
  return jax.tree.map(lambda *x: np.stack(x), *batches)


def streams(
  name: str,
  options: catalog.Options,
  seeds: Sequence[int],
  reading: Reading,
) -> bool:
  """Returns True if a data set is to be streamed from disk.

  Each seed may need its own copy in memory. If "auto" decides to stream, the
  log gives the sizes.
  """
  if reading.how != "auto":
    return reading.how == "stream"
  prepared_name = catalog.prepared_name(name)
  if not prepared_name or not options.data_dir:
    return False
  stored = prepared.open_records(options.data_dir, prepared_name)
  drawn = "valid" not in stored.readers or options.split_by != "given"
  needed = stored.num_bytes * COPIES * (len(seeds) if drawn else 1)
  free = free_bytes()
  if needed <= free / 2:
    return False
  logging.info(
    "%s would take %.1f GB of the %.1f GB of free memory: streaming it (see"
    " --reading)",
    name,
    needed / 1e9,
    free / 1e9,
  )
  return True


def free_bytes() -> int:
  """Returns the free memory of the host, or of the device if it has less."""
  free = psutil.virtual_memory().available
  stats = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" not in stats:
    return free
  return min(free, stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def _check_varies(dataset, scaler):
  for m, modality in enumerate(dataset.modalities):
    file = dataset.splits["train"].files[modality]
    checks.check_varies(file, modality, bool(np.any(scaler.inverse_std[m])))
