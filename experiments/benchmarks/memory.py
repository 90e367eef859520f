"""Memory of the weights of more examples than a host is to hold them of.

Each process makes examples of its own, so none ever has those of all.
"""

import pathlib
from typing import Any

import jax
import numpy as np
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax.data import plans
from btw_jax.models import networks
from btw_jax.parallel import hosts
from btw_jax.parallel import placement
from btw_jax.training import loop
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule
from experiments import cluster
from experiments.benchmarks import processes

# The first modality tells the label, the others nothing.
_MODALITIES, _BATCH = 4, 2**15
_ROWS, _PROCESSES = (10**6, 10**7), 4
# What the table on paper is of.
_MANY, _HOSTS = 10**9, (8, 64, 512)


def run(rounds: int) -> list[dict[str, str]]:
  """Most memory of a process, measured and on paper.

  Args:
    rounds: not needed: memory does not vary as time does.

  Returns:
    Rows of a table.
  """
  del rounds
  rows = []
  for num_examples in _ROWS:
    each = processes.run(worker, num_examples, count=_PROCESSES)
    taken = max(found["taken"] for found in each)
    where = f"{_PROCESSES} processes"
    rows.append(_row(num_examples, where, each[0]["num_bytes"], taken))
  per_example = each[0]["num_bytes"] / each[0]["rows"]
  for num_hosts in _HOSTS:
    where = f"{num_hosts} hosts, on paper"
    rows.append(_row(_MANY, where, _MANY / num_hosts * per_example, None))
  return rows


def _row(num_examples, where, num_bytes, taken):
  return {
    "examples": f"{num_examples:,}",
    "on": where,
    "data, W and a refresh, GB each": f"{num_bytes / 1e9:.3g}",
    "the whole process, GB": "" if taken is None else f"{taken / 1e9:.2f}",
  }


def _place(num_examples, num_slots, seed):
  """Examples of this process's slots alone."""
  layout = plans.SlotLayout(num_examples, num_slots)
  slots = placement.my_slots(num_slots)
  shape = (jax.local_device_count(), -1)
  there = (layout.rows(slots) != plans.PADDING).reshape(-1)
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
  split = types.Split(batch, np.moveaxis(outputs, 2, 0))
  return placement.Placed(hosts.shard(split), layout)


def _peak():
  """Most bytes that this program held at once.

  As Linux counts them for a program: `ru_maxrss` begins with what the process
  held that started it.
  """
  status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
  (line,) = [x for x in status.splitlines() if x.startswith("VmHWM:")]
  return 1024 * int(line.split()[1])


def worker(num_examples: int, *others: Any) -> dict[str, Any]:
  """Trains one epoch.

  Args:
    num_examples: over all processes.
    *others: of `cluster.initialize`, if there are other processes.

  Returns:
    What came out and what it took.
  """
  if others:
    cluster.initialize(*others)
  sizes = networks.Sizes((1,) * _MODALITIES, 1, hidden_dim=4, embedding_dim=4)
  trainer = trainer_lib.Trainer(
    networks.Concatenation(sizes),
    tasks.make("binary", 1),
    optax.sgd(0.1),
    batch_size=_BATCH,
    rule=weighting_rule.Rule(variants=("kl+mi",)),
  )
  train = _place(num_examples, _BATCH, 0)
  program = loop.Program(
    trainer,
    [vectorized_runs.RunSpec("kl+mi", 1.0, 1.0)],
    [0],
    train,
    _place(1000, jax.device_count(), 1),
  )
  log = jax.device_get(program(0))
  taken = _peak()
  table = program.run.weights.average.table
  own, present = hosts.local_shards((table, train.split.batch.present))
  sums = own.reshape(present.shape).sum(-1)[present.any(-1)]
  return {
    "rows": int(np.prod(own.shape[:-1])),
    "rows of all": int(np.prod(table.shape[:-1])),
    "sums": [float(sums.min()), float(sums.max())],
    "weights": log["weights"][0, 0].tolist(),
    "loss": [float(log[f"{s}_loss"][0, 0, 0]) for s in ("train", "valid")],
    "taken": taken,
    "num_bytes": program.num_bytes(),
  }
