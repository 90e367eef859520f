"""Measures what the gate and its tests cost, compilation included.

Whole runs of digits with noise are trained in turns, each with ten seeds and
both stages, so a round takes about a minute.
"""

import statistics
import tempfile
import time

import numpy as np

from btw_jax import types
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import modality_tests
from btw_jax.pipeline import train_run
from experiments.benchmarks import timing

_NUM_EXCHANGES = 20


def run(rounds: int) -> list[dict[str, str]]:
  """Compares a run with the gate, and the tests alone, with a plain run."""
  seconds = [_round() for _ in range(rounds + 1)][1:]
  gate, plain, tests = (
    statistics.median(column) for column in zip(*seconds, strict=True)
  )
  return [
    timing.row(
      "run with --weighting=gate / uniform",
      gate,
      plain,
      statistics.median(g / p for g, p, _ in seconds),
      "at most 2.1",
    ),
    timing.row(
      "tests of modalities / run with uniform",
      tests,
      plain,
      statistics.median(t / p for _, p, t in seconds),
      "at most 0.02",
    ),
  ]


def _round():
  """Returns the seconds of a run with the gate, of a plain one, of tests."""
  config = config_lib.make(
    noise_modalities=3,
    num_seeds=10,
    weighting=("uniform",),
    num_exchanges=0,
  )
  times = []
  with tempfile.TemporaryDirectory() as folder:
    for name in ("gate", "uniform"):
      changes = {"weighting": (name,), "workdir": f"{folder}/{name}"}
      if name == "gate":
        changes["num_exchanges"] = _NUM_EXCHANGES
      start = time.perf_counter()
      train_run.train(config_lib.replace(config, **changes))
      times.append(time.perf_counter() - start)
    trained = finished_run.load(f"{folder}/uniform", "valid")
    times.append(_test_seconds(trained))
  return times


def _test_seconds(trained):
  """Returns the seconds of the tests of a finished run, on validation."""
  unimodal = np.asarray(trained.split.unimodal)
  valid = types.Split(trained.batch, unimodal)
  start = time.perf_counter()
  modality_tests.measure(
    trained.models.trainers.multimodal,
    trained.models.multimodal["uniform"].params,
    1.0,
    valid,
    trained.ids,
    trained.modalities,
    trained.seeds,
    _NUM_EXCHANGES,
  )
  return time.perf_counter() - start
