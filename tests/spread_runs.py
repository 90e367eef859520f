"""Trains small runs on the devices at hand, and leaves what came out.

  python tests/spread_runs.py OUTPUT [ADDRESS COUNT NUMBER]

Started by `devices_test` for several numbers of devices and of processes.
"""

import sys

import jax
import numpy as np
import problems

from btw_jax.training import data_parallel
from btw_jax.training import inputs
from btw_jax.training import runs
from btw_jax.training import state as state_lib
from experiments import config as config_lib
from experiments import trainers as trainers_lib

CHOICES = [runs.Choice("kl+mi", 1.0, 1.0), runs.Choice("uniform", 0.0, 1.0)]


def digits(parallelism):
  """Stage 2 as users run it: AdamW, dropout, three epochs."""
  config = config_lib.Config(
    dataset="digits", num_seeds=2, num_epochs=3, weighting=("kl+mi",),
    hidden_dim=16, embedding_dim=16, parallelism=parallelism,
  )  # fmt: skip
  found = inputs.prepare(config.read_datasets(), config.how_to_read())
  shape = trainers_lib.Shape.of(found.dataset, len(found.scalers))
  sizes = len(found.dataset.splits["train"])
  trainers = trainers_lib.build(config, shape, ("uniform", "kl+mi"), sizes)
  rng, splits = np.random.default_rng(0), []
  for split in ("train", "valid"):
    batch = found.splits[split]
    outputs = rng.normal(size=(2, 4, batch.present.shape[1], 10))
    splits.append(state_lib.Split(batch, outputs.astype(np.float32)))
  return problems.fit(
    trainers.multimodal, CHOICES, config.seeds, *splits, num_epochs=3
  )


def main(output, *process):
  """Trains everything both ways."""
  if process:
    address, count, number = process
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, int(count), int(number))
  found = {how: digits(how) for how in data_parallel.PARALLELISMS}
  if jax.process_index() == 0:
    arrays = {}
    for name, tree in found.items():
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        arrays[f"{name}{jax.tree_util.keystr(path)}"] = leaf
    np.savez(output, devices=jax.device_count(), **arrays)


if __name__ == "__main__":
  main(*sys.argv[1:])
