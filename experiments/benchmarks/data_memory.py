"""Measures the host memory that a pass over a data set and loading it take."""

from collections.abc import Callable
import contextlib
import dataclasses
import gc
import io
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from btw_jax.data import builders
from btw_jax.data import catalog
from btw_jax.data import loading
from btw_jax.data import prepared
from btw_jax.data import streaming
from experiments.benchmarks import synthetic_records

# Examples of the data set that is loaded into memory.
_SMALL = {"train": 2400, "valid": 300, "test": 300}


def streaming_row(split: streaming.Streamed) -> dict[str, str]:
  """Measures the memory that a streamed pass over all examples adds."""
  count, batch_size = synthetic_records.COUNT, synthetic_records.BATCH
  order = np.random.default_rng(0).permutation(count)
  plan = order[: count // batch_size * batch_size].reshape(-1, batch_size)
  added = _peak(
    lambda: synthetic_records.drain(streaming.Stream(split.read, plan))
  )
  size = count * sum(
    4 * layout.num_steps * layout.width
    for layout in synthetic_records.LAYOUT.values()
  )
  name = "size of the data set / memory added by one pass"
  return _row(name, size, added, f"{1.5e9 / 1e6:,.0f} MB at most")


def loading_row(folder: pathlib.Path) -> dict[str, str]:
  """Measures the memory that loading a whole data set adds, ready to train.

  It writes the data set into a new folder first. It needs a process of its own:
  memory that an earlier step has freed would be used again and not be counted.
  """
  options = _prepare(folder)
  # The data set must stay alive until its memory has been counted.
  held = []

  def read():
    reading = loading.Reading("memory")
    loaded = loading.prepare(
      loading.read_datasets(
        "tfds:npz", options, (0,), split_per_seed=False, reading=reading
      ),
      reading,
    )
    held.extend([loaded, jax.tree.map(jnp.asarray, loaded.splits)])

  added = _peak(read)
  size = prepared.open_records(str(folder / "out"), "npz").num_bytes
  name = "memory added by loading a data set / its size"
  return _row(name, added, size, f"{loading.COPIES} at most")


def _prepare(folder):
  """Writes an npz data set and prepares it as records."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for split, count in _SMALL.items():
    labels = rng.normal(size=count)
    features = {
      f"x_{modality}": rng.normal(
        size=(count, layout.num_steps, layout.width)
      ).astype("f")
      for modality, layout in synthetic_records.LAYOUT.items()
    }
    np.savez(folder / f"{split}.npz", y=labels, **features)
  options = catalog.Options(average_steps=False)
  builder = builders.make("npz", str(folder), str(folder / "out"), options)
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_dir=str(folder / "scratch"))
  return dataclasses.replace(options, data_dir=str(folder / "out"))


def _peak(work: Callable[[], None]) -> int:
  """Returns the most bytes of memory that the process adds during the work."""
  gc.collect()
  process = psutil.Process()
  before = process.memory_info().rss
  most, done = [before], threading.Event()

  def watch():
    while not done.wait(0.005):
      most[0] = max(most[0], process.memory_info().rss)

  watcher = threading.Thread(target=watch)
  watcher.start()
  work()
  done.set()
  watcher.join()
  return most[0] - before


def _row(name, first, second, target):
  return {
    "ratio of": f"{name}, {first / 1e6:,.0f} MB / {second / 1e6:,.0f} MB",
    "first, ms": "",
    "second, ms": "",
    "ratio": f"{first / second:.2f}",
    "target": target,
  }
