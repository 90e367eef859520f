"""Measures the memory of a large study, and the turns that a limit makes.

The study has the size of CMU-MOSEI: 10 seeds, 9 settings, sequences of 50
steps. Its memory follows from XLA's plan of one run, as in `training.turns`,
which is compiled here; nothing is trained.
"""

import numpy as np
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax.models import networks
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import turns
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule

# Widths of text, audio and video, examples, steps, batch, as in CMU-MOSEI.
_WIDTHS = (300, 74, 35)
_NUM_TRAIN, _NUM_VALID, _NUM_STEPS, _BATCH = 16_326, 1871, 50, 32
_VARIANTS = ("uniform", "kl", "mi", "cc", "kl+mi", "kl+cc")
_HALF = ("kl", "mi", "kl+mi")
_NUM_SEEDS = 10
_LIMITS_GB = (6, 12)


def run(rounds: int) -> list[dict[str, str]]:
  """Plans the study; `rounds` is not used, because nothing is timed."""
  del rounds
  specs = [vectorized_runs.RunSpec(name, 1.0, 1.0) for name in _VARIANTS]
  specs += [vectorized_runs.RunSpec(name, 0.5, 1.0) for name in _HALF]
  train, valid = map(_split, (_NUM_TRAIN, _NUM_VALID))
  trainer, rows = _trainer(), []
  for limit in _LIMITS_GB:
    planned, memory = turns.plan(
      trainer, specs, range(_NUM_SEEDS), train, valid, limit * 10**9
    )
    settings, seeds = turns.largest(planned)
    everything = memory.needed(len(specs), _NUM_SEEDS)
    rows.append(
      {
        "runs": f"{_NUM_SEEDS} seeds x {len(specs)} settings",
        "all side by side, GB": f"{everything / 1e9:.1f}",
        "limit, GB": f"{limit}",
        "turns": f"{len(planned)}",
        "runs of a turn": f"{seeds} x {settings}",
        "memory of a turn, GB": f"{memory.needed(settings, seeds) / 1e9:.1f}",
      }
    )
  return rows


def _split(num_examples):
  """Draws sequences of all three modalities."""
  rng = np.random.default_rng(0)
  sequences = tuple(
    types.Steps(
      rng.standard_normal((num_examples, 1, _NUM_STEPS, width), np.float32),
      np.full((num_examples, 1), _NUM_STEPS, np.int32),
    )
    for width in _WIDTHS
  )
  count = len(_WIDTHS)
  batch = types.Batch(
    np.zeros((num_examples, count, 1), np.float32),
    np.ones((num_examples, count), bool),
    rng.standard_normal(num_examples, np.float32),
    sequences=sequences,
  )
  outputs = np.zeros((_NUM_SEEDS, count, num_examples, 2), np.float32)
  return types.Split(batch, outputs)


def _trainer():
  task = tasks.make("regression", 1)
  count = len(_WIDTHS)
  sizes = networks.Sizes(
    _WIDTHS,
    task.num_outputs,
    groups=tuple((m,) for m in range(count)),
    num_steps=(_NUM_STEPS,) * count,
  )
  return trainer_lib.Trainer(
    networks.Concatenation(sizes),
    task,
    optax.adamw(1e-3),
    _BATCH,
    weighting_rule.Rule(variants=_VARIANTS),
  )
