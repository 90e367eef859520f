"""Measures the memory of the weights of more examples than one host holds.

Each process draws its own examples, so that no process has all of them.
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
from btw_jax.training import example_source
from btw_jax.training import in_memory
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule
from experiments import cluster
from experiments.benchmarks import processes

# The first modality predicts the label, the other modalities are noise.
_MODALITIES, _BATCH = 4, 2**15
_ROWS, _PROCESSES = (10**6, 10**7), 4
# The number of examples and of hosts of the calculated rows.
_MANY, _HOSTS = 10**9, (8, 64, 512)


def run(rounds: int) -> list[dict[str, str]]:
  """Measures the most memory of a process, and calculates it for many hosts.

  `rounds` is not used, because memory does not vary as time does.
  """
  del rounds
  rows = []
  for num_examples in _ROWS:
    workers = processes.run(worker, num_examples, count=_PROCESSES)
    taken = max(log["taken"] for log in workers)
    where = f"{_PROCESSES} processes"
    rows.append(_row(num_examples, where, workers[0]["num_bytes"], taken))
  per_example = workers[0]["num_bytes"] / workers[0]["rows"]
  for num_hosts in _HOSTS:
    where = f"{num_hosts} hosts, calculated"
    rows.append(_row(_MANY, where, _MANY / num_hosts * per_example, None))
  return rows


def _row(num_examples, where, num_bytes, taken):
  return {
    "examples": f"{num_examples:,}",
    "distributed over": where,
    "data, W and refresh, GB per process": f"{num_bytes / 1e9:.3g}",
    "peak of a process, GB": "" if taken is None else f"{taken / 1e9:.2f}",
  }


def _place(num_examples, num_slots, seed):
  """Draws the examples of this process's slots alone."""
  layout = plans.SlotLayout(num_examples, num_slots)
  slots = placement.process_slots(num_slots)
  shape = (jax.local_device_count(), -1)
  valid = (layout.rows(slots) != plans.PADDING).reshape(-1)
  rng = np.random.default_rng([seed, jax.process_index()])
  count = len(valid)
  label = rng.integers(0, 2, count, np.int32)
  signs = np.float32(2) * label - 1
  features = rng.standard_normal((count, _MODALITIES, 1), np.float32)
  features[:, 0, 0] += signs
  outputs = rng.standard_normal((_MODALITIES, count, 1), np.float32)
  outputs[0, :, 0] += 2 * signs
  batch = types.Batch(
    features.reshape(*shape, _MODALITIES, 1),
    np.repeat(valid[:, None], _MODALITIES, axis=1).reshape(*shape, _MODALITIES),
    label.reshape(shape),
  )
  outputs = outputs.reshape(1, _MODALITIES, *shape, 1)
  split = types.Split(batch, np.moveaxis(outputs, 2, 0))
  return example_source.InMemoryExamples(hosts.shard(split), layout)


def _peak():
  """Returns the most bytes that this program has held.

  `VmHWM` counts from the start of the program. `ru_maxrss` would also count the
  memory of the process that started it.
  """
  status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
  (line,) = [x for x in status.splitlines() if x.startswith("VmHWM:")]
  return 1024 * int(line.split()[1])


def worker(num_examples: int, *membership: Any) -> dict[str, Any]:
  """Trains one epoch and returns its log and the memory that it took.

  Args:
    num_examples: number of examples of all processes together.
    *membership: arguments of `cluster.initialize`, if there are several
      processes.

  Returns:
    Rows of W here and in total, the smallest and largest sum of a row, the
    weights, the losses, and bytes: of the process and as the program counts.
  """
  if membership:
    cluster.initialize(*membership)
  sizes = networks.Sizes((1,) * _MODALITIES, 1, hidden_dim=4, embedding_dim=4)
  trainer = trainer_lib.Trainer(
    networks.Concatenation(sizes),
    tasks.make("binary", 1),
    optax.sgd(0.1),
    batch_size=_BATCH,
    rule=weighting_rule.Rule(variants=("kl+mi",)),
  )
  train = _place(num_examples, _BATCH, 0)
  runner = in_memory.InMemoryRunner(
    trainer,
    [vectorized_runs.RunSpec("kl+mi", 1.0, 1.0)],
    [0],
    train,
    _place(1000, jax.device_count(), 1),
  )
  log = jax.device_get(runner.run_epoch(0))
  taken = _peak()
  table = runner.run.weights.average.table
  shard, present = hosts.local_shards((table, train.split.batch.present))
  sums = shard.reshape(present.shape).sum(-1)[present.any(-1)]
  return {
    "rows": int(np.prod(shard.shape[:-1])),
    "rows of all": int(np.prod(table.shape[:-1])),
    "sums": [float(sums.min()), float(sums.max())],
    "weights": log["weights"][0, 0].tolist(),
    "loss": [float(log[f"{s}_loss"][0, 0, 0]) for s in ("train", "valid")],
    "taken": taken,
    "num_bytes": runner.num_bytes(),
  }
