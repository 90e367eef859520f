"""Trains on more examples than a host is to hold the weights of.

  python tests/large_table.py ROWS [ADDRESS COUNT NUMBER]

Each process makes its own examples, so none ever has those of all. Prints as
JSON what came out, and the most memory that this process took.
"""

import json
import resource
import sys

import jax
import numpy as np
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax.data import plans
from btw_jax.models import networks
from btw_jax.training import data_parallel
from btw_jax.training import placement
from btw_jax.training import rule as rule_lib
from btw_jax.training import runs
from btw_jax.training import stages
from btw_jax.training import state as state_lib
from btw_jax.training import step as step_lib
from experiments import cluster

# The first modality tells the label, the others nothing.
_MODALITIES, _BATCH = 4, 2**15


def place(num_examples, num_slots, seed):
  """Examples of this process's slots alone."""
  layout = plans.Layout(num_examples, num_slots)
  slots = placement.my_slots(num_slots)
  shape = (jax.local_device_count(), -1)
  there = (layout.rows(slots) != plans.NOTHING).reshape(-1)
  rng = np.random.default_rng([seed, jax.process_index()])
  count = len(there)
  label = rng.integers(0, 2, count, np.int32)
  signs = np.float32(2) * label - 1
  features = rng.standard_normal((count, _MODALITIES, 1), np.float32)
  features[:, 0, 0] += signs
  outputs = rng.standard_normal((_MODALITIES, count, 1), np.float32)
  outputs[0, :, 0] += 2 * signs
  batch = types.Batch(
    features.reshape(*shape, _MODALITIES, 1),
    np.repeat(there[:, None], _MODALITIES, axis=1).reshape(*shape, _MODALITIES),
    label.reshape(shape),
  )
  outputs = outputs.reshape(1, _MODALITIES, *shape, 1)
  split = state_lib.Split(batch, np.moveaxis(outputs, 2, 0))
  return placement.Placed(data_parallel.put(split), layout)


def main(num_examples, *process):
  """One epoch, and what it took."""
  if process:
    address, count, number = process
    cluster.meet(address, int(count), int(number))
  sizes = networks.Sizes((1,) * _MODALITIES, 1, hidden_dim=4, embedding_dim=4)
  trainer = step_lib.Trainer(
    networks.Concatenation(sizes),
    tasks.make("binary", 1),
    optax.sgd(0.1),
    batch_size=_BATCH,
    rule=rule_lib.Rule(variants=("kl+mi",)),
  )
  train = place(int(num_examples), _BATCH, 0)
  program = stages.Program(
    trainer,
    [runs.Choice("kl+mi", 1.0, 1.0)],
    [0],
    train,
    place(1000, jax.device_count(), 1),
  )
  log = jax.device_get(program(0))
  taken = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  table = program.run.weights.average.table
  own, present = data_parallel.local((table, train.split.batch.present))
  sums = own.reshape(present.shape).sum(-1)[present.any(-1)]
  print(
    json.dumps(
      {
        "rows": int(np.prod(own.shape[:-1])),
        "rows of all": int(np.prod(table.shape[:-1])),
        "sums": [float(sums.min()), float(sums.max())],
        "weights": log["weights"][0, 0].tolist(),
        "loss": [float(log[f"{s}_loss"][0, 0, 0]) for s in ("train", "valid")],
        "bytes": taken,
      }
    )
  )


if __name__ == "__main__":
  main(*sys.argv[1:])
