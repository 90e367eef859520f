"""Weak scaling: as much work for every device, however many there are."""

import os
import pathlib
import statistics
import time
from typing import Any

from absl import flags
import jax
import numpy as np

from btw_jax import types
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.parallel import placement
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import vectorized_runs
from experiments import cluster
from experiments.benchmarks import processes
from experiments.benchmarks import train as train_suite

# Processes and the devices of each.
_WHERE = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))
# Examples of a step of a device, and steps of an epoch.
_EACH, _STEPS = 32, 40
# What the table on paper assumes: a ring over hosts, bytes a second and seconds
# of a message from one to the next.
_BANDWIDTH, _LATENCY = 25e9, 10e-6
_HOSTS = (8, 64, 512)
_RECIPE = pathlib.Path(__file__).parents[1] / "recipes/mosi_moe.flags"


def run(rounds: int) -> list[dict[str, str]]:
  """Time of a step on more and more devices, and what it would be on many.

  Args:
    rounds: epochs to time.

  Returns:
    Rows of a table.
  """
  rows = []
  for num_processes, num_devices in _WHERE:
    found, *_ = processes.run(
      worker, rounds, count=num_processes, num_devices=num_devices
    )
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
  (mixture,) = processes.run(recipe, str(_RECIPE), "--dataset=digits")
  sizes = {"this model": found["bytes"], _RECIPE.stem: mixture}
  for name, size in sizes.items():
    for hosts in _HOSTS:
      ring = 2 * (hosts - 1) * (size / hosts / _BANDWIDTH + _LATENCY)
      where = f"{hosts} hosts, on paper: {name}, {size / 1e6:.2g} MB"
      rows.append(_row(where, None, ring, None, None))
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


def worker(rounds: int, *others: Any) -> dict[str, float]:
  """Times steps, and the sums in them, on the devices at hand.

  Args:
    rounds: epochs to time.
    *others: of `cluster.initialize`, if there are other processes.

  Returns:
    Seconds of a step, of the sums in it, and the bytes of those.
  """
  if others:
    cluster.initialize(*others)
  batch_size = _EACH * jax.device_count()
  num_examples = batch_size * _STEPS
  trainer = train_suite.trainer(("uniform",), batch_size)
  cell = vectorized_runs.select_run(
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
  ).split
  same, spread = device_map.REPLICATED, device_map.SHARDED
  state = device_map.parallelise(trainer.init, (same, spread))(0, placed)

  def epoch(run, split):
    return epoch_lib.train_epoch(trainer, num_examples, run, cell, 0, 0, split)

  def sums(params):
    def add_up(params, _):
      total = device_map.total(params)
      return jax.tree.map(lambda x: x / jax.device_count(), total), None

    return jax.lax.scan(add_up, params, None, _STEPS)[0]

  steps = device_map.parallelise(epoch, (same, spread))
  added = device_map.parallelise(sums, (same,))
  params = state.train.params
  return {
    "step": _seconds(lambda: steps(state, placed), rounds),
    "sums": _seconds(lambda: added(params), rounds),
    "bytes": sum(4 * x.size for x in jax.tree.leaves(params)),
  }


def recipe(path: str, *more: str) -> int:
  """The bytes of the multimodal model of a recipe, in float32.

  Args:
    path: of the recipe.
    *more: flags.

  Returns:
    How many.
  """
  config_lib.define_flags()
  flags.FLAGS(["", f"--flagfile={path}", *more])
  config = config_lib.from_flags()
  dataset = config.read_datasets()[0]
  shape = build.Shape.of(dataset, 1)
  num_train = len(dataset.splits["train"])
  trainers = build.build(config, shape, config.weighting, num_train)
  params = build.like(trainers, shape, 1)[1].params
  return sum(4 * x.size for x in jax.tree.leaves(params))


def _seconds(function, rounds):
  """Median of a step, after one call to compile."""
  jax.block_until_ready(function())
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    jax.block_until_ready(function())
    times.append((time.perf_counter() - start) / _STEPS)
  return statistics.median(times)
