"""Weak scaling: as much work for every device, however many there are."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import jax
import numpy as np

from btw_jax import types
from btw_jax.data import plans
from btw_jax.training import data_parallel
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import placement
from btw_jax.training import runs
from btw_jax.training import state as state_lib
from experiments import benchmark_train
from experiments import cluster

# Processes and the devices of each.
_WHERE = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))
# Examples of a step of a device, and steps of an epoch.
_EACH, _STEPS = 32, 40
# What the table on paper assumes: a ring over hosts, bytes a second and seconds
# of a message from one to the next.
_BANDWIDTH, _LATENCY = 25e9, 10e-6
_HOSTS = (8, 64, 512)


def run(rounds: int) -> list[dict[str, str]]:
  """Time of a step on more and more devices, and what it would be on many.

  Args:
    rounds: epochs to time.

  Returns:
    Rows of a table.
  """
  rows = []
  for num_processes, num_devices in _WHERE:
    found = _measure(num_processes, num_devices, rounds)
    step, sums = found["step"], found["sums"]
    queue = _queue(num_processes * num_devices)
    rows.append(
      _row(
        f"{num_processes} x {num_devices}",
        step,
        sums,
        step - sums,
        (step - sums) / queue,
      )
    )
  size = found["bytes"]
  for hosts in _HOSTS:
    ring = 2 * (hosts - 1) * (size / hosts / _BANDWIDTH + _LATENCY)
    rows.append(_row(f"{hosts} hosts, on paper", None, ring, None, None))
  return rows


def _row(where, *seconds):
  names = ("step", "adding up", "the rest", "the rest, had each a core")
  cells = ("" if s is None else f"{1e3 * s:.3f}" for s in seconds)
  named = zip(names, cells, strict=True)
  return {
    "processes x devices": where,
    **{f"{name}, ms": cell for name, cell in named},
  }


def _queue(num_devices):
  """How many devices wait for a core."""
  return max(1.0, num_devices / (os.cpu_count() or 1))


def _measure(num_processes, num_devices, rounds):
  """What the first of some processes measures."""
  address = cluster.free_address()
  code = "from experiments import benchmark_scaling as b; b.worker(*{!r})"
  started = [
    subprocess.Popen(
      [
        sys.executable, "-c",
        code.format((address, num_processes, number, rounds)),
      ],
      cwd=pathlib.Path(__file__).parent.parent,
      env={
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
      },
      stdout=subprocess.PIPE,
      text=True,
    )
    for number in range(num_processes)
  ]  # fmt: skip
  printed = [one.communicate()[0] for one in started]
  return json.loads(printed[0].splitlines()[-1])


def worker(address: str, count: int, number: int, rounds: int) -> None:
  """Times steps, and the sums in them, on the devices at hand.

  Args:
    address: where processes meet.
    count: of processes.
    number: of this one.
    rounds: epochs to time.
  """
  if count > 1:
    cluster.meet(address, count, number)
  batch_size = _EACH * jax.device_count()
  num_examples = batch_size * _STEPS
  trainer = benchmark_train.trainer(("uniform",), batch_size)
  cell = runs.slice_cell(
    runs.stack_cells(trainer.rule, [runs.Choice("uniform", 1.0, 1.0)]), 0
  )
  rng = np.random.default_rng(0)
  shape = (num_examples, 3, max(benchmark_train.WIDTHS))
  batch = types.Batch(
    rng.normal(size=shape).astype(np.float32),
    np.ones(shape[:2], bool),
    rng.integers(0, 2, num_examples, np.int32),
  )
  placed = placement.place(
    state_lib.Split(batch, None), plans.Layout(num_examples, batch_size)
  ).split
  same, spread = data_parallel.SAME, data_parallel.SPREAD
  state = data_parallel.parallelise(trainer.init, (same, spread))(0, placed)

  def epoch(run, split):
    return epoch_lib.train_epoch(trainer, num_examples, run, cell, 0, 0, split)

  def sums(params):
    def add_up(params, _):
      total = data_parallel.total(params)
      return jax.tree.map(lambda x: x / jax.device_count(), total), None

    return jax.lax.scan(add_up, params, None, _STEPS)[0]

  steps = data_parallel.parallelise(epoch, (same, spread))
  added = data_parallel.parallelise(sums, (same,))
  params = state.train.params
  found = {
    "step": _seconds(lambda: steps(state, placed), rounds),
    "sums": _seconds(lambda: added(params), rounds),
    "bytes": sum(4 * x.size for x in jax.tree.leaves(params)),
  }
  print(json.dumps(found))


def _seconds(function, rounds):
  """Median of a step, after one call to compile."""
  jax.block_until_ready(function())
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    jax.block_until_ready(function())
    times.append((time.perf_counter() - start) / _STEPS)
  return statistics.median(times)
