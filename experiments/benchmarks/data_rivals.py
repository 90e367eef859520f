"""Other ways to get the batches of the suite `data`."""

from collections.abc import Callable
import pathlib
import pickle

from array_record.python import array_record_data_source
import jax
import numpy as np

from btw_jax.data import schema
from btw_jax.data import streaming
from experiments.benchmarks import synthetic_records
from experiments.benchmarks import timing

_COUNT, _BATCH = synthetic_records.COUNT, synthetic_records.BATCH
_LAYOUT, _NUM_DRAWN = synthetic_records.LAYOUT, synthetic_records.NUM_DRAWN
# Examples that are held in memory: too many bytes for the cache.
_NUM_HELD = 4 * _BATCH


def tfds_decoding(folder: str) -> Callable[[], None]:
  """Returns a turn that decodes the records by TFDS and stacks them."""
  paths = sorted(str(p) for p in pathlib.Path(folder).glob("*.array_record-*"))
  source = array_record_data_source.ArrayRecordDataSource(paths)
  features = schema.features(_LAYOUT, (), subjects=False)
  turns = synthetic_records.turns()

  def batch(rows):
    examples = [
      features.deserialize_example_np(record)
      for record in source.__getitems__(rows.tolist())
    ]
    return {m: np.stack([e[m]["values"] for e in examples]) for m in _LAYOUT}

  return lambda: synthetic_records.drain(map(batch, next(turns)))


def torch_loader(
  split: streaming.Streamed, folder: pathlib.Path
) -> Callable[[], None] | None:
  """Returns a turn of a PyTorch DataLoader; None without PyTorch.

  It reads one pickle per example with two workers, which live on between turns.
  """
  torch = timing.import_optional("torch")
  if torch is None:
    return None
  _write_pickles(split, folder)

  class Files(torch.utils.data.Dataset):
    def __len__(self):
      return _COUNT

    def __getitem__(self, row):
      example = pickle.loads((folder / f"{row}.pkl").read_bytes())
      return {m: torch.from_numpy(x.copy()) for m, x in example.items()}

  turns = synthetic_records.turns()

  class Turn(torch.utils.data.Sampler):
    def __iter__(self):
      return iter(next(turns).tolist())

    def __len__(self):
      return synthetic_records.BATCHES_PER_TURN

  loader = torch.utils.data.DataLoader(
    Files(), batch_sampler=Turn(), num_workers=2, persistent_workers=True
  )
  return lambda: synthetic_records.drain(loader)


def _write_pickles(split, folder):
  """Writes a file per example; repeated examples are copies of the first."""
  for row in range(_COUNT):
    path = folder / f"{row}.pkl"
    if row >= _NUM_DRAWN:
      path.write_bytes((folder / f"{row % _NUM_DRAWN}.pkl").read_bytes())
      continue
    features = split.read(np.array([row])).features
    example = {m: x[0] for m, x in features.items()}
    path.write_bytes(pickle.dumps(example, protocol=5))


def in_memory(split: streaming.Streamed) -> Callable[[], None]:
  """Returns a turn that gathers batches from arrays in host memory."""
  held = split.read(np.arange(_NUM_HELD)).features
  turns = synthetic_records.turns()

  def turn():
    for rows in next(turns):
      for x in held.values():
        x[rows % _NUM_HELD]

  return turn


def on_device(split: streaming.Streamed) -> Callable[[], None]:
  """Returns a turn that gathers batches from arrays on the device."""
  features = dict(split.read(np.arange(_NUM_HELD)).features)
  held = jax.tree.map(jax.numpy.asarray, features)
  gather = jax.jit(lambda held, rows: jax.tree.map(lambda x: x[rows], held))
  turns = synthetic_records.turns()

  def turn():
    for rows in next(turns):
      jax.block_until_ready(gather(held, rows % _NUM_HELD))

  return turn
