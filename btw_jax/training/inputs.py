"""From a named data set to arrays with a seed axis."""

from collections.abc import Mapping, Sequence
import dataclasses

import jax
import numpy as np

from btw_jax import types
from btw_jax.data import batching
from btw_jax.data import catalog
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import scaling


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What the runs of a study train and validate on.

  Attributes:
    datasets: one per seed, or a single one that all seeds share.
    scalers: as many, fitted on each training split.
    splits: split -> `Batch`, with a leading S axis unless shared.
  """

  datasets: Sequence[dataset_lib.Dataset]
  scalers: Sequence[scaling.Scaler]
  splits: Mapping[str, types.Batch]

  @property
  def dataset(self) -> dataset_lib.Dataset:
    """Any of the data sets: names, widths and sizes are those of all."""
    return self.datasets[0]


def load(
  name: str,
  options: catalog.Options,
  seeds: Sequence[int],
  *,
  split_per_seed: bool,
) -> Inputs:
  """Reads a data set, once for all seeds or once for each.

  Args:
    name: a name of `catalog.SOURCES`.
    options: what the source needs; its seed is replaced.
    seeds: S of them.
    split_per_seed: draw what is random (held-out shares, noise) anew for each
      seed, so that results do not hang on one split. Where nothing is drawn,
      seeds share one copy.

  Returns:
    The inputs.
  """

  def of_seed(seed):
    return catalog.load(name, dataclasses.replace(options, seed=seed))

  datasets = [of_seed(seeds[0])]
  if split_per_seed and datasets[0].drawn:
    datasets += [of_seed(seed) for seed in seeds[1:]]
  scalers = [scaling.fit(dataset) for dataset in datasets]
  splits = {
    split: stack([dataset.splits[split] for dataset in datasets], scalers)
    for split in dataset_lib.SPLITS
  }
  return Inputs(datasets, scalers, splits)


def stack(
  examples: Sequence[dataset_lib.Examples], scalers: Sequence[scaling.Scaler]
) -> types.Batch:
  """Scaled arrays of a split, `[S, N, ...]`, or `[N, ...]` if shared.

  Args:
    examples: one per scaler, or one for all.
    scalers: one per seed, or one for all.

  Returns:
    The stacked batch.
  """
  if len(examples) < len(scalers):
    examples = list(examples) * len(scalers)
  batches = [
    batching.stack(*pair) for pair in zip(examples, scalers, strict=True)
  ]
  if len(batches) == 1:
    return batches[0]
  return jax.tree.map(lambda *x: np.stack(x), *batches)
