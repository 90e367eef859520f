"""Measures weak scaling: the same work for each device, with more devices."""

import os
import pathlib
import statistics
import time
from typing import Any

import jax
import numpy as np

from btw_jax import types
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.parallel import placement
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import vectorized_runs
from experiments import cluster
from experiments.benchmarks import processes
from experiments.benchmarks import recipe_size
from experiments.benchmarks import train as train_suite

# Number of processes, and of devices of each.
_WHERE = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))
# Examples of a device in a step, and steps of an epoch.
_BATCH_PER_DEVICE, _STEPS = 32, 40
# The calculated rows assume a ring of hosts with this bandwidth, in bytes per
# second, and this latency of a message, in seconds.
_BANDWIDTH, _LATENCY = 25e9, 10e-6
_HOSTS = (8, 64, 512)
_RECIPE = pathlib.Path(__file__).parents[1] / "recipes/mosi_moe.flags"


def run(rounds: int) -> list[dict[str, str]]:
  """Measures a step in `rounds` epochs for each number of devices."""
  rows = []
  for num_processes, num_devices in _WHERE:
    first_worker, *_ = processes.run(
      worker, rounds, count=num_processes, num_devices=num_devices
    )
    step, sums = first_worker["step"], first_worker["sums"]
    queue = _devices_per_core(num_processes * num_devices)
    rows.append(
      _row(
        f"{num_processes} x {num_devices}",
        step,
        sums,
        step - sums,
        (step - sums) / queue,
      )
    )
  (mixture,) = processes.run(
    recipe_size.num_bytes, str(_RECIPE), "--dataset=digits"
  )
  sizes = {"this model": first_worker["bytes"], _RECIPE.stem: mixture}
  for name, size in sizes.items():
    for hosts in _HOSTS:
      ring = 2 * (hosts - 1) * (size / hosts / _BANDWIDTH + _LATENCY)
      where = f"{hosts} hosts, calculated: {name}, {size / 1e6:.2g} MB"
      rows.append(_row(where, None, ring, None, None))
  return rows


def _row(where, *seconds):
  names = (
    "step",
    "gradient sum",
    "other work",
    "other work with a core per device",
  )
  cells = ("" if s is None else f"{1e3 * s:.3f}" for s in seconds)
  named = zip(names, cells, strict=True)
  return {
    "processes x devices": where,
    **{f"{name}, ms": cell for name, cell in named},
  }


def _devices_per_core(num_devices):
  """Returns how many simulated devices share a core, at least one."""
  return max(1.0, num_devices / (os.cpu_count() or 1))


def worker(rounds: int, *membership: Any) -> dict[str, float]:
  """Times steps, and the gradient sums in them, on the devices of a program.

  Args:
    rounds: number of timed epochs.
    *membership: arguments of `cluster.initialize`, if there are several
      processes.

  Returns:
    Seconds of a step, seconds of its gradient sum, and bytes of the gradients.
  """
  if membership:
    cluster.initialize(*membership)
  batch_size = _BATCH_PER_DEVICE * jax.device_count()
  num_examples = batch_size * _STEPS
  trainer = train_suite.make_trainer(("uniform",), batch_size)
  run_params = vectorized_runs.select_setting(
    vectorized_runs.stack_params(
      trainer.rule, [vectorized_runs.RunSpec("uniform", 1.0, 1.0)]
    ),
    0,
  )
  rng = np.random.default_rng(0)
  shape = (num_examples, 3, max(train_suite.WIDTHS))
  batch = types.Batch(
    rng.normal(size=shape).astype(np.float32),
    np.ones(shape[:2], bool),
    rng.integers(0, 2, num_examples, np.int32),
  )
  placed = placement.place(
    types.Split(batch, None), plans.SlotLayout(num_examples, batch_size)
  )
  replicated, sharded = device_map.REPLICATED, device_map.SHARDED
  state = device_map.parallelise(trainer.init, (replicated, sharded))(0, placed)

  def epoch(state, split):
    return epoch_lib.train_epoch(
      trainer, num_examples, state, run_params, 0, 0, split
    )

  def sums(params):
    def average(params, _):
      total = device_map.psum_flat(params)
      return jax.tree.map(lambda x: x / jax.device_count(), total), None

    return jax.lax.scan(average, params, None, _STEPS)[0]

  timed_epoch = device_map.parallelise(epoch, (replicated, sharded))
  timed_sums = device_map.parallelise(sums, (replicated,))
  params = state.train.params
  return {
    "step": _seconds(lambda: timed_epoch(state, placed), rounds),
    "sums": _seconds(lambda: timed_sums(params), rounds),
    "bytes": sum(4 * x.size for x in jax.tree.leaves(params)),
  }


def _seconds(function, rounds):
  """Returns the median seconds of a step, after one call that compiles."""
  jax.block_until_ready(function())
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    jax.block_until_ready(function())
    times.append((time.perf_counter() - start) / _STEPS)
  return statistics.median(times)
