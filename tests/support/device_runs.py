"""Trains small runs on the local devices and saves the results.

`devices_test` starts it for several numbers of devices and processes.
"""

import jax
import numpy as np

from btw_jax import types
from btw_jax.data import loading
from btw_jax.parallel import device_map
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from btw_jax.training import vectorized_runs
from experiments import cluster
from support import problems

CHOICES = [
  vectorized_runs.RunSpec("kl+mi", 1.0, 1.0),
  vectorized_runs.RunSpec("uniform", 0.0, 1.0),
]


def train(parallelism, **settings):
  """Trains stage 2 for three epochs with AdamW and dropout."""
  config = config_lib.make(
    num_seeds=1, num_epochs=3, weighting=("kl+mi",), hidden_dim=16,
    embedding_dim=16, parallelism=parallelism, **settings,
  )  # fmt: skip
  prepared = loading.prepare(run_data.read(config), run_data.reading(config))
  dataset = prepared.dataset
  shape = saved_config.DataShape.from_dataset(dataset, len(prepared.scalers))
  num_train = len(dataset.splits["train"])
  trainers = build.build_trainers(
    config, shape, ("uniform", "kl+mi"), num_train
  )
  rng, splits = np.random.default_rng(0), []
  for split in ("train", "valid"):
    outputs = rng.normal(
      size=(1, len(dataset.modalities), len(dataset.splits[split]),
            trainers.task.num_outputs)
    )  # fmt: skip
    splits.append(
      types.Split(prepared.splits[split], outputs.astype(np.float32))
    )
  return problems.fit(
    trainers.multimodal, CHOICES, config.seeds, *splits, num_epochs=3
  )


def main(output, prepared, *others):
  """Trains all cases; both mappings where there are several devices."""
  if others:
    cluster.initialize(*others)
  ways = device_map.MAPPINGS if jax.device_count() > 1 else ("pmap",)
  runs = {how: train(how, dataset="digits") for how in ways}
  runs["minmax"] = train("shard_map", dataset="digits", normalise="minmax")
  if jax.local_device_count() != 4:
    # One device has all experts; each of two processes with two has a quarter.
    runs["experts"] = train(
      "shard_map", dataset="digits", model="moe", num_experts=8, num_layers=1,
      max_norm=1.0, expert_parallelism=jax.device_count(),
    )  # fmt: skip
    # In some batches one process has longer sequences than the other.
    runs["stream"] = train(
      "shard_map", dataset="tfds:npz", data_dir=prepared, reading="stream",
      encoder="mtand", num_buckets=2, batch_size=8, num_heads=2,
    )  # fmt: skip
  if jax.process_index() == 0:
    arrays = {}
    for name, tree in runs.items():
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        arrays[f"{name}{jax.tree_util.keystr(path)}"] = leaf
    np.savez(output, devices=jax.device_count(), **arrays)
