"""Measures reading shuffled batches from disk, in speed and memory."""

from collections.abc import Callable
from concurrent import futures
import multiprocessing
import pathlib
import tempfile

import numpy as np

from btw_jax.data import batch_source
from btw_jax.data import plans
from btw_jax.data import scaling
from btw_jax.data import streaming
from experiments.benchmarks import data_memory
from experiments.benchmarks import data_rivals
from experiments.benchmarks import synthetic_records
from experiments.benchmarks import timing

_BATCH, _LAYOUT = synthetic_records.BATCH, synthetic_records.LAYOUT
_BATCHES_PER_TURN = synthetic_records.BATCHES_PER_TURN


def run(rounds: int) -> list[dict[str, str]]:
  """Measures reading against its upper bound, other readers and memory."""
  with tempfile.TemporaryDirectory() as folder:
    split = synthetic_records.write(pathlib.Path(folder))
    streamed = data_memory.streaming_row(split)
    rows = [_speed(*pair, rounds) for pair in _pairs(split, folder)]
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, spawn) as pool:
      small = pathlib.Path(folder, "small")
      loaded = pool.submit(data_memory.loading_row, small).result()
    return [*rows, streamed, loaded]


def _pairs(split, folder):
  """Yields a name, two functions that read a turn, and the target ratio."""
  read = _batches(split)
  yield "raw records / shuffled batches", _raw(split), read, "at least 0.7"
  loader = data_rivals.torch_loader(split, pathlib.Path(folder))
  if loader:
    yield "PyTorch DataLoader / shuffled batches", loader, read, "at least 1"
  decoding = data_rivals.tfds_decoding(folder)
  yield "TFDS decoding / shuffled batches", decoding, read, ""
  yield "standardised / shuffled batches", _standardised(split), read, ""
  memory = data_rivals.in_memory(split)
  yield "shuffled batches / batches gathered in memory", read, memory, ""
  device = data_rivals.on_device(split)
  yield "shuffled batches / batches gathered on the device", read, device, ""


def _speed(name, first, second, target, rounds):
  a, b, ratio = timing.compare(first, second, rounds)
  rate = _BATCHES_PER_TURN * _BATCH / b
  name = f"{name}, second side {rate:,.0f} examples/s"
  return timing.row(
    name, a / _BATCHES_PER_TURN, b / _BATCHES_PER_TURN, ratio, target
  )


def _batches(split) -> Callable[[], None]:
  turns = synthetic_records.turns()
  return lambda: synthetic_records.drain(
    streaming.Stream(split.read, next(turns))
  )


def _standardised(split) -> Callable[[], None]:
  """Returns a turn of batches as training reads them."""
  shape = (len(_LAYOUT), max(layout.width for layout in _LAYOUT.values()))
  scaler = scaling.Scaler(
    np.zeros(shape, np.float32), np.ones(shape, np.float32),
    np.ones(shape[0], np.float32), np.float32(0), np.float32(1),
  )  # fmt: skip
  source = batch_source.open_batches(split, scaler, 1)
  turns = synthetic_records.turns()

  def turn():
    planned = [plans.PlannedBatch(0, rows, _BATCH) for rows in next(turns)]
    synthetic_records.drain(source.batches(planned))

  return turn


def _raw(split) -> Callable[[], None]:
  """Returns a turn that reads the same records as byte strings."""
  turns = synthetic_records.turns()
  return lambda: synthetic_records.drain(
    streaming.Stream(split.reader.raw, next(turns))
  )
