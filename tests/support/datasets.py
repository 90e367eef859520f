"""A small data set in memory."""

import numpy as np

from btw_jax.data import dataset as dataset_lib


def splits(seed=0):
  """Returns sequences and vectors of three classes, two rows a subject."""
  rng = np.random.default_rng(seed)
  splits = {}
  for split, n in (("train", 1500), ("test", 8)):
    x = rng.normal(2, 3, size=(n, 4, 3))
    x[..., 1] = 7
    splits[split] = dataset_lib.complete(
      {"a": x, "b": rng.normal(size=(n, 2))},
      np.arange(n) % 3,
      ids=[f"{split}{i}" for i in range(n)],
      present={"a": np.arange(n) % 4 > 0},
      steps={"a": dataset_lib.Steps(np.arange(n) % 4 + 1)},
      subjects=[f"s{i // 2 + 100 * (split == 'test')}" for i in range(n)],
      replaced={"b": 5},
    )
  return splits
