"""From a named data set to arrays with a seed axis."""

from collections.abc import Mapping, Sequence
import dataclasses

from absl import logging
import jax
import numpy as np
import psutil

from btw_jax import types
from btw_jax.data import batch_source
from btw_jax.data import batching
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import prepared
from btw_jax.data import scaling
from btw_jax.data import streaming

READINGS = ("auto", "memory", "stream")
# Most memory that reading at once takes, over what the features take alone, as
# `experiments.benchmarks --suite=data` measures it.
COPIES = 4


@dataclasses.dataclass(frozen=True)
class Reading:
  """How examples come to the program.

  Attributes:
    how: a name of `READINGS`: all at once, or batch by batch from disk; "auto"
      streams a prepared data set that would take more than half of the memory
      that is free.
    num_buckets: shapes of batches of sequences, at most, when streaming.
  """

  how: str = "auto"
  num_buckets: int = 4


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What the runs of a study train and validate on.

  Attributes:
    datasets: one per seed, or a single one that all seeds share.
    scalers: as many, fitted on each training split.
    splits: split -> `Batch`, with a leading S axis unless shared, or
      `batch_source.DiskBatches` if it stays on disk.
  """

  datasets: Sequence[dataset_lib.Dataset]
  scalers: Sequence[scaling.Scaler]
  splits: Mapping[str, types.Batch | batch_source.DiskBatches]

  @property
  def dataset(self) -> dataset_lib.Dataset:
    """Any of the data sets: names, widths and sizes are those of all."""
    return self.datasets[0]


def read_datasets(
  name: str,
  options: catalog.Options,
  seeds: Sequence[int],
  *,
  split_per_seed: bool,
  reading: Reading,
) -> list[dataset_lib.Dataset]:
  """Reads a data set, once for all seeds or once for each.

  Args:
    name: a name of `catalog.SOURCES`, or that of a prepared data set.
    options: what the source needs; its seed is replaced.
    seeds: S of them.
    split_per_seed: draw what is random (held-out shares, noise) anew for each
      seed, so that results do not hang on one split. Where nothing is drawn, or
      examples are streamed, seeds share one copy.
    reading: at once or batch by batch.

  Returns:
    As many data sets as seeds, or one that all share.
  """
  stream = streams(name, options, seeds, reading)
  options = dataclasses.replace(options, stream=stream)

  def of_seed(seed):
    return catalog.load(name, dataclasses.replace(options, seed=seed))

  datasets = [of_seed(seeds[0])]
  if split_per_seed and datasets[0].drawn and not stream:
    datasets += [of_seed(seed) for seed in seeds[1:]]
  return datasets


def prepare(
  datasets: Sequence[dataset_lib.Dataset], reading: Reading
) -> Inputs:
  """Scales data sets, and stacks their splits.

  Args:
    datasets: one per seed, or one that all share.
    reading: of what stays on disk.

  Returns:
    The inputs.

  Raises:
    InputError: if a modality that stays on disk is constant.
  """
  scalers = [scaling.fit(dataset) for dataset in datasets]
  stream = isinstance(datasets[0].splits["train"], streaming.Streamed)
  if stream:
    _check_varies(datasets[0], scalers[0])
  splits = {
    split: stack(
      [dataset.splits[split] for dataset in datasets], scalers, reading
    )
    for split in dataset_lib.SPLITS
  }
  if stream:
    for split, source in splits.items():
      logging.info("%s: %s", split, source)
  return Inputs(datasets, scalers, splits)


def stack(
  examples: Sequence[dataset_lib.Examples | streaming.Streamed],
  scalers: Sequence[scaling.Scaler],
  reading: Reading,
) -> types.Batch | batch_source.DiskBatches:
  """Scaled arrays of a split, `[S, N, ...]`, or `[N, ...]` if shared.

  Args:
    examples: one per scaler, or one for all.
    scalers: one per seed, or one for all.
    reading: of what stays on disk.

  Returns:
    The stacked batch, or the source of its batches.
  """
  if isinstance(examples[0], streaming.Streamed):
    return batch_source.open_source(
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
  """Whether a data set is to be read batch by batch.

  Args:
    name: a name of `catalog.SOURCES`, or that of a prepared data set.
    options: what the source needs.
    seeds: each may need a copy.
    reading: as asked for.

  Returns:
    The answer; if it is yes for want of memory, the log says so.
  """
  if reading.how != "auto":
    return reading.how == "stream"
  rest = prepared.named(name)
  if not rest or not options.data_dir:
    return False
  found = prepared.open_records(options.data_dir, rest)
  drawn = "valid" not in found.readers or options.split_by != "given"
  needed = found.num_bytes * COPIES * (len(seeds) if drawn else 1)
  free = _free_bytes()
  if needed <= free / 2:
    return False
  logging.info(
    "%s would take %.1f GB of the %.1f GB that are free: streaming it (see"
    " --reading)",
    name,
    needed / 1e9,
    free / 1e9,
  )
  return True


def _free_bytes():
  """Of the machine, or of the device if that has less."""
  free = psutil.virtual_memory().available
  stats = jax.local_devices()[0].memory_stats() or {}
  return min(free, stats.get("bytes_limit", free))


def _check_varies(dataset, scaler):
  for m, modality in enumerate(dataset.modalities):
    file = dataset.splits["train"].files[modality]
    checks.check_varies(file, modality, bool(np.any(scaler.inverse_std[m])))
