"""Trains small runs on the devices at hand, and leaves what came out.

  python tests/spread_runs.py OUTPUT [ADDRESS COUNT NUMBER]

Started by `devices_test` for several numbers of devices and of processes.
"""

import dataclasses
import sys

import jax
import numpy as np
import optax
import problems

from btw_jax.training import inputs
from btw_jax.training import runs
from btw_jax.training import state as state_lib
from experiments import config as config_lib
from experiments import scoring
from experiments import trainers as trainers_lib

CHOICES = [runs.Choice("kl+mi", 1.0, 1.0), runs.Choice("uniform", 0.0, 1.0)]
PLAIN = [runs.Choice("uniform", 0.0, 1.0)]


def digits(parallelism):
  """Both stages as users run them: AdamW, dropout, three epochs."""
  config = config_lib.Config(
    dataset="digits", num_seeds=2, num_epochs=3, weighting=("kl+mi",),
    hidden_dim=16, embedding_dim=16, parallelism=parallelism,
  )  # fmt: skip
  found = inputs.prepare(config.read_datasets(), config.how_to_read())
  shape = trainers_lib.Shape.of(found.dataset, len(found.scalers))
  sizes = len(found.dataset.splits["train"])
  trainers = trainers_lib.build(config, shape, ("uniform", "kl+mi"), sizes)
  bare = [
    state_lib.Split(found.splits[split], None) for split in ("train", "valid")
  ]
  seeds = config.seeds
  first, log = problems.fit(
    trainers.unimodal, PLAIN, seeds, *bare, num_epochs=3
  )
  params = runs.slice_cell(first.params, 0)
  whole = [scoring.with_unimodal(trainers, params, x.batch) for x in bare]
  best, logs = problems.fit(
    trainers.multimodal, CHOICES, seeds, *whole, num_epochs=3
  )
  return first, log, best, logs


def mixture(parallelism):
  """A mixture of experts whose choices are noisy, plain gradient descent."""
  train, valid = problems.splits([0])
  made = problems.trainer(
    problems.mixture(noisy=True), problems.RULE, optimizer=optax.sgd(0.1)
  )
  made = dataclasses.replace(
    made, parallelism=parallelism, penalties={"importance": 0.3, "load": 0.2}
  )
  return problems.fit(made, CHOICES[:1], [0], train, valid, num_epochs=2)


def main(output, *process):
  """Trains everything both ways."""
  if process:
    address, count, number = process
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, int(count), int(number))
  found = {}
  for how in ("pmap", "shard_map"):
    found[f"digits_{how}"] = digits(how)
  found["mixture"] = mixture("pmap")
  if jax.process_index() == 0:
    arrays = {}
    for name, tree in found.items():
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        arrays[f"{name}{jax.tree_util.keystr(path)}"] = leaf
    np.savez(output, devices=jax.device_count(), **arrays)


if __name__ == "__main__":
  main(*sys.argv[1:])
