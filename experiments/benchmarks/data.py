"""Speed of reading shuffled batches from disk, and the memory it takes.

On examples of the shape of CMU-MOSEI, 50 steps of 74, 35 and 768 features.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import contextlib
import dataclasses
import gc
import io
import multiprocessing
import pathlib
import pickle
import tempfile
import threading
import time

from absl import logging
from array_record.python import array_record_data_source
import jax
import jax.numpy as jnp
import numpy as np
import psutil
import tensorflow_datasets as tfds

from btw_jax.data import batch_source
from btw_jax.data import builders
from btw_jax.data import catalog
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.data import plans
from btw_jax.data import prepared
from btw_jax.data import records
from btw_jax.data import scaling
from btw_jax.data import schema
from btw_jax.data import streaming
from experiments.benchmarks import timing

_COUNT, _BATCH = 20_000, 256
_LAYOUT = {
  "audio": records.RecordSchema(74, 50),
  "vision": records.RecordSchema(35, 50),
  "text": records.RecordSchema(768, 50),
}
# Batches of a turn.
_TURN = 12
# Examples that are drawn; the set repeats them.
_DRAWN = 512
# A set that is read at once.
_SMALL = {"train": 2400, "valid": 300, "test": 300}


def run(rounds: int) -> list[dict[str, str]]:
  """Measures reading against what bounds it and what others use.

  Args:
    rounds: turns of each pair.

  Returns:
    Rows of a table.
  """
  with tempfile.TemporaryDirectory() as folder:
    split = _write(pathlib.Path(folder))
    streamed = _pass(split)
    rows = [_speed(*pair, rounds) for pair in _pairs(split, folder)]
    # In a process of its own: here memory is left over that could be used.
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, spawn) as apart:
      at_once = apart.submit(_at_once, pathlib.Path(folder, "small")).result()
    return [*rows, streamed, at_once]


def _pairs(split, folder):
  """Name, two functions that read batches, and what their ratio should be."""
  read = _batches(split)
  yield "raw records / shuffled batches", _raw(split), read, "at least 0.7"
  torch = timing.library("torch")
  if torch:
    loader = _loader(torch, split, pathlib.Path(folder))
    yield "PyTorch DataLoader / shuffled batches", loader, read, "at least 1"
  yield "TFDS's decoding / shuffled batches", _tfds(folder), read, ""
  yield "standardised / shuffled batches", _standardised(split), read, ""
  memory = _in_memory(split)
  yield "shuffled batches / gathered from memory", read, memory, ""
  yield "shuffled batches / gathered on the device", read, _on_device(split), ""


def _speed(name, first, second, target, rounds):
  a, b, ratio = timing.compare(first, second, rounds)
  each = _TURN * _BATCH
  name = f"{name}, {each / b:,.0f} examples a second in the latter"
  return timing.row(name, a / _TURN, b / _TURN, ratio, target)


def _write(folder: pathlib.Path) -> streaming.Streamed:
  """The data set on disk, opened."""
  examples = _examples()
  rows = list(schema.rows(examples, _LAYOUT))
  many = ({**rows[i % _DRAWN], "id": str(i)} for i in range(_COUNT))
  features = schema.features(_LAYOUT, (), subjects=False)
  start = time.perf_counter()
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder,
    dataset_name="mosei",
    split="train",
    filetype_suffix="array_record",
  )
  info = builders.write(
    template, features, many, _COUNT, examples_per_shard=1500
  )
  logging.info("written in %.0f s", time.perf_counter() - start)
  paths = [str(path) for path in info.filepaths]
  reader = records.Reader(paths, _LAYOUT, (), subjects=False, name=str(folder))
  return streaming.open_split(reader)


def _examples() -> dataset_lib.Examples:
  rng = np.random.default_rng(0)
  features = {
    m: rng.normal(size=(_DRAWN, own.num_steps, own.width)).astype(np.float32)
    for m, own in _LAYOUT.items()
  }
  return dataset_lib.complete(features, rng.normal(size=_DRAWN))


def _turns() -> Iterator[np.ndarray]:
  """Rows of the batches of a turn, other ones every time."""
  rng = np.random.default_rng(0)
  while True:
    yield rng.permutation(_COUNT)[: _TURN * _BATCH].reshape(_TURN, _BATCH)


def _drain(items: Iterable) -> None:
  for _ in items:
    pass


def _batches(split) -> Callable[[], None]:
  turns = _turns()
  return lambda: _drain(streaming.Stream(split.read, next(turns)))


def _standardised(split) -> Callable[[], None]:
  """Batches as training takes them."""
  shape = (len(_LAYOUT), max(own.width for own in _LAYOUT.values()))
  scaler = scaling.Scaler(
    np.zeros(shape, np.float32), np.ones(shape, np.float32),
    np.ones(shape[0], np.float32), np.float32(0), np.float32(1),
  )  # fmt: skip
  source = batch_source.open_source(split, scaler, 1)
  turns = _turns()

  def turn():
    _drain(
      source.batches([plans.PlannedBatch(0, r, _BATCH) for r in next(turns)])
    )

  return turn


def _raw(split) -> Callable[[], None]:
  """The same records, on the same threads, as byte strings."""
  turns = _turns()
  return lambda: _drain(streaming.Stream(split.reader.raw, next(turns)))


def _tfds(folder) -> Callable[[], None]:
  """What TFDS gives, stacked."""
  paths = sorted(str(p) for p in pathlib.Path(folder).glob("*.array_record-*"))
  source = array_record_data_source.ArrayRecordDataSource(paths)
  features = schema.features(_LAYOUT, (), subjects=False)
  turns = _turns()

  def batch(rows):
    found = source.__getitems__(rows.tolist())
    found = [features.deserialize_example_np(record) for record in found]
    return {m: np.stack([e[m]["values"] for e in found]) for m in _LAYOUT}

  return lambda: _drain(map(batch, next(turns)))


def _loader(torch, split, folder) -> Callable[[], None]:
  """One pickle per example, two workers; they are kept between turns."""
  for row in range(_COUNT):
    one = split.read(np.array([row])) if row < _DRAWN else None
    path = folder / f"{row}.pkl"
    if one is None:
      path.write_bytes((folder / f"{row % _DRAWN}.pkl").read_bytes())
      continue
    example = {m: x[0] for m, x in one.features.items()}
    path.write_bytes(pickle.dumps(example, protocol=5))

  class Files(torch.utils.data.Dataset):
    def __len__(self):
      return _COUNT

    def __getitem__(self, row):
      example = pickle.loads((folder / f"{row}.pkl").read_bytes())
      return {m: torch.from_numpy(x.copy()) for m, x in example.items()}

  turns = _turns()

  class Turn(torch.utils.data.Sampler):
    def __iter__(self):
      return iter(next(turns).tolist())

    def __len__(self):
      return _TURN

  loader = torch.utils.data.DataLoader(
    Files(), batch_sampler=Turn(), num_workers=2, persistent_workers=True
  )
  return lambda: _drain(loader)


def _in_memory(split) -> Callable[[], None]:
  """Batches of what is in memory already; enough of it to leave the cache."""
  held = split.read(np.arange(4 * _BATCH)).features
  turns = _turns()

  def turn():
    for rows in next(turns):
      for x in held.values():
        x[rows % len(x)]

  return turn


def _on_device(split) -> Callable[[], None]:
  held = jax.tree.map(jax.numpy.asarray, dict(
    split.read(np.arange(4 * _BATCH)).features
  ))  # fmt: skip
  gather = jax.jit(lambda held, rows: jax.tree.map(lambda x: x[rows], held))
  turns = _turns()

  def turn():
    for rows in next(turns):
      jax.block_until_ready(gather(held, rows % (4 * _BATCH)))

  return turn


def _pass(split) -> dict[str, str]:
  """The most memory that a pass over all examples adds."""
  order = np.random.default_rng(0).permutation(_COUNT)
  plan = order[: _COUNT // _BATCH * _BATCH].reshape(-1, _BATCH)
  added = _peak(lambda: _drain(streaming.Stream(split.read, plan)))
  size = _COUNT * sum(4 * o.num_steps * o.width for o in _LAYOUT.values())
  name = "size of the set / memory added by a pass over it"
  return _memory_row(name, size, added, f"{1.5e9 / 1e6:,.0f} MB at most")


def _at_once(folder: pathlib.Path) -> dict[str, str]:
  """The most memory that reading a set at once adds, ready to train on."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for split, count in _SMALL.items():
    np.savez(
      folder / f"{split}.npz", y=rng.normal(size=count), **{
        f"x_{m}": rng.normal(size=(count, o.num_steps, o.width)).astype("f")
        for m, o in _LAYOUT.items()
      }
    )  # fmt: skip
  options = catalog.Options(average_steps=False)
  builder = builders.make("npz", str(folder), str(folder / "out"), options)
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_dir=str(folder / "scratch"))
  del builder
  options = dataclasses.replace(options, data_dir=str(folder / "out"))
  held = []

  def read():
    reading = loading.Reading("memory")
    found = loading.prepare(
      loading.read_datasets(
        "tfds:npz", options, (0,), split_per_seed=False, reading=reading
      ),
      reading,
    )
    held.extend([found, jax.tree.map(jnp.asarray, found.splits)])

  added = _peak(read)
  size = prepared.open_records(str(folder / "out"), "npz").num_bytes
  name = "memory added by reading a set at once / its size"
  return _memory_row(name, added, size, f"{loading.COPIES} at most")


def _peak(work: Callable[[], None]) -> int:
  """Bytes that the process holds at most beyond those from before."""
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


def _memory_row(name, first, second, target):
  return {
    "ratio of": f"{name}, {first / 1e6:,.0f} MB / {second / 1e6:,.0f} MB",
    "first, ms": "",
    "second, ms": "",
    "ratio": f"{first / second:.2f}",
    "target": target,
  }
