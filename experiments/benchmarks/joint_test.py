"""Simulates the level and the power of the tests of modalities.

  python -m experiments.benchmarks.joint_test --num_draws=1000

Every draw is a new data set, `y = a xor b` with a third modality of noise, on
which a unimodal model per modality and the multimodal model are trained. The
table shows how often a test finds something in each modality, at the level of
5 % and without the correction for several modalities, and how often the gate
closes it.
"""

from absl import flags

from experiments import app

_DRAWS = flags.DEFINE_integer("num_draws", 1000, "number of data sets", 1)
_VALID = flags.DEFINE_integer("num_valid", 400, "validation examples", 2)
_TRAIN = flags.DEFINE_integer("num_train", 400, "training examples", 32)
_EXCHANGES = flags.DEFINE_integer("num_exchanges", 20, "as in a run", 1)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write the table to")

_NAMES = ("a", "b", "noise")
_WIDTH, _AT_ONCE, _EPOCHS = 4, 100, 30
_LEVEL = 0.05


def main() -> None:
  """Trains on all draws, tests, and prints how often each test rejects."""
  # `--help` must not wait for JAX.
  import numpy as np

  from btw_jax.pipeline import files
  from btw_jax.reports import tables as tables_lib

  tests = [
    test
    for first in range(0, _DRAWS.value, _AT_ONCE)
    for test in _test(range(first, min(first + _AT_ONCE, _DRAWS.value)))
  ]
  rows = []
  for m, name in enumerate(_NAMES):
    row = {"modality": name}
    for kind in ("alone", "exchanged"):
      rejected = [t[kind].p_value[m] < _LEVEL for t in tests]
      row[f"{kind}: found, %"] = f"{100 * np.mean(rejected):.1f}"
    row["closed, %"] = f"{100 * np.mean([t['idle'][m] for t in tests]):.1f}"
    rows.append(row)
  note = (
    f"{len(tests):,} draws, {_TRAIN.value} training and {_VALID.value}"
    " validation examples"
  )
  print(tables_lib.with_note({"note": note, "rows": rows}))
  if _OUTPUT.value:
    files.write_json(_OUTPUT.value, {"note": note, "rows": rows})


def _test(seeds):
  """Trains on one data set per seed, and yields the tests of each."""
  import jax
  import numpy as np

  from btw_jax.analysis import information_test

  rises, examples = _rises(seeds), np.arange(_VALID.value)[None]
  for s in range(len(seeds)):
    tests = {
      kind: information_test.test(
        jax.tree.map(lambda x, s=s: x[s : s + 1], rises[kind]),
        examples,
        num_exchanges=_EXCHANGES.value,
      )
      for kind in ("alone", "exchanged")
    }
    yield {**tests, "idle": information_test.idle(list(tests.values()), _LEVEL)}


def _rises(seeds):
  """Trains both stages on one data set per seed, and exchanges modalities."""
  import jax
  import numpy as np

  from btw_jax import types
  from btw_jax.pipeline import build
  from btw_jax.pipeline import config as config_lib
  from btw_jax.pipeline import modality_tests
  from btw_jax.pipeline import saved_config
  from btw_jax.training import crossfit
  from btw_jax.training import loop
  from btw_jax.training import vectorized_runs

  shape = saved_config.DataShape(
    _NAMES, (_WIDTH,) * 3, "binary", 2, (0,) * 3, len(seeds)
  )
  config = config_lib.make(hidden_dim=32, embedding_dim=16, learning_rate=3e-3)
  trainers = build.build_trainers(config, shape, ["uniform"], _TRAIN.value)
  data = jax.tree.map(lambda *x: np.stack(x), *map(_batch, seeds))
  train, valid = (
    types.Split(jax.tree.map(lambda x, rows=rows: x[:, rows], data), None)
    for rows in (slice(_TRAIN.value), slice(_TRAIN.value, None))
  )
  plain = [vectorized_runs.RunSpec("uniform", 0.0, 1.0)]

  def fit(trainer):
    best = loop.fit(trainer, plain, seeds, train, valid, num_epochs=_EPOCHS)
    return vectorized_runs.select_setting(best, 0)

  return modality_tests.measure_rises(
    trainers.multimodal,
    fit(trainers.multimodal).params,
    1.0,
    valid._replace(unimodal=fit(trainers.unimodal).crossfit.outputs),
    crossfit.half(np.arange(_VALID.value)),
    seeds,
    _EXCHANGES.value,
  )


def _batch(seed):
  """Draws training and validation examples of one data set."""
  import numpy as np

  from btw_jax import types

  rng = np.random.default_rng(seed)
  number = _TRAIN.value + _VALID.value
  a, b = rng.integers(0, 2, (2, number))
  means = np.stack([2 * a - 1, 2 * b - 1, np.zeros(number)], axis=1)
  features = means[..., None] + rng.normal(size=(number, 3, _WIDTH))
  return types.Batch(
    features.astype(np.float32), np.ones((number, 3), bool), a ^ b
  )


if __name__ == "__main__":
  app.run(
    main,
    {
      "Simulation": [
        "num_draws", "num_valid", "num_train", "num_exchanges", "output",
      ]
    },
  )  # fmt: skip
