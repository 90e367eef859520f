"""Measures training against eager PyTorch, and the cost of weighting."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax.data import plans
from btw_jax.models import networks
from btw_jax.parallel import device_map
from btw_jax.parallel import placement
from btw_jax.reports import tables as tables_lib
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import loop
from btw_jax.training import run_groups
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule
from experiments.benchmarks import timing
from experiments.benchmarks import torch_rivals

# The size of CMU-MOSI: widths of text, audio and video, utterances, batch.
WIDTHS = (100, 73, 100)
_NUM_TRAIN, _NUM_VALID, _BATCH = 1447, 244, 32
NUM_STEPS = _NUM_TRAIN // _BATCH
_HIDDEN, _DROPOUT, _RATE = 64, 0.1, 1e-3


def run(rounds: int) -> list[dict[str, str]]:
  """Measures a step against PyTorch, and a weighted against a plain epoch."""
  rows = []
  for name, compiled, num_seeds, target in (
    ("eager PyTorch", False, 1, "at least 8"),
    ("eager PyTorch", False, 10, "at least 12"),
    ("torch.compile", True, 1, "at least 2"),
    ("torch.compile", True, 10, ""),
  ):
    torch_epoch = torch_rivals.fusion_epoch(
      WIDTHS,
      hidden_dim=_HIDDEN,
      dropout=_DROPOUT,
      learning_rate=_RATE,
      num_examples=_NUM_TRAIN,
      batch_size=_BATCH,
      compiled=compiled,
    )
    if torch_epoch is None:
      continue
    jax_epoch = steps(make_trainer(("uniform",)), num_seeds)
    a, b, ratio = timing.compare(torch_epoch, jax_epoch, rounds)
    rows.append(
      timing.row(
        f"{name} step / our step, {tables_lib.quantity(num_seeds, 'seed')}",
        a / NUM_STEPS,
        b / NUM_STEPS / num_seeds,
        ratio * num_seeds,
        target,
      )
    )
  for num_seeds in (1, 10):
    seeds = tables_lib.quantity(num_seeds, "seed")
    weighted, plain = (
      _epochs(variants, num_seeds) for variants in (("kl+mi",), ("uniform",))
    )
    a, b, ratio = timing.compare(weighted, plain, rounds)
    rows.append(
      timing.row(
        f"epoch with kl+mi / uniform, {seeds}",
        a / num_seeds,
        b / num_seeds,
        ratio,
        "at most 1.05",
      )
    )
  return rows


def _splits(num_seeds):
  """Draws a training and a validation split with random unimodal outputs."""
  rng = np.random.default_rng(0)

  def split(n):
    features = rng.normal(size=(n, len(WIDTHS), max(WIDTHS)))
    batch = types.Batch(
      jnp.asarray(features, jnp.float32),
      jnp.ones((n, len(WIDTHS)), bool),
      jnp.asarray(rng.integers(0, 2, n), jnp.int32),
    )
    unimodal = rng.normal(size=(num_seeds, len(WIDTHS), n, 1))
    return types.Split(batch, jnp.asarray(unimodal, jnp.float32))

  return split(_NUM_TRAIN), split(_NUM_VALID)


def make_trainer(
  variants: Sequence[str],
  batch_size: int = _BATCH,
  *,
  dropout: float = _DROPOUT,
  optimizer: optax.GradientTransformation | None = None,
) -> trainer_lib.Trainer:
  """Builds the trainer of a fusion model of the size of CMU-MOSI."""
  task = tasks.make("binary", 1)
  sizes = networks.Sizes(
    WIDTHS,
    task.num_outputs,
    hidden_dim=_HIDDEN,
    embedding_dim=_HIDDEN,
    dropout=dropout,
  )
  return trainer_lib.Trainer(
    networks.Concatenation(sizes),
    task,
    optimizer or optax.adamw(_RATE),
    batch_size,
    weighting_rule.Rule(variants=variants),
  )


def steps(trainer: trainer_lib.Trainer, num_seeds: int) -> Callable[[], Any]:
  """Returns an epoch of training steps alone, for several seeds."""
  train, _ = _splits(num_seeds)
  # Steps without weighting need no unimodal outputs.
  placed = placement.place(
    train._replace(unimodal=None), plans.SlotLayout(_NUM_TRAIN, _BATCH)
  )
  spec = vectorized_runs.RunSpec(trainer.rule.variants[0], 1.0, 1.0)
  run_params = vectorized_runs.stack_params(trainer.rule, [spec])
  seeds = jnp.arange(num_seeds)
  run, axes = vectorized_runs.init(trainer, 1, seeds, placed)
  groups = run_groups.make_for(run, 1, num_seeds)

  def take_steps(run, run_params, seed, train):
    return epoch_lib.train_epoch(
      trainer, _NUM_TRAIN, run, run_params, seed, 0, train
    )

  mapped = device_map.parallelise(
    vectorized_runs.map_runs(
      take_steps,
      (
        vectorized_runs.PER_RUN,
        vectorized_runs.PER_SETTING,
        vectorized_runs.PER_SEED,
        vectorized_runs.SHARED,
      ),
    ),
    (axes, device_map.REPLICATED, device_map.REPLICATED, device_map.SHARDED),
  )
  inputs = [
    (state, run_params, seeds[s : s + groups.seeds_per_group], placed)
    for state, (_, s) in zip(
      groups.split(run, axes), groups.starts, strict=True
    )
  ]
  compiled = mapped.compile(*inputs[0], one_core=not groups.is_one)
  return lambda: jax.block_until_ready(
    groups.map(lambda group: compiled(*inputs[group]))
  )


def _epochs(variants, num_seeds):
  """Returns a full epoch: steps, weight refresh, validation, best epoch."""
  train, valid = _splits(num_seeds)
  spec = vectorized_runs.RunSpec(variants[0], 1.0, 1.0)
  runner = loop.make_runner(
    make_trainer(variants), [spec], range(num_seeds), train, valid
  )
  return lambda: jax.block_until_ready(runner.run_epoch(0))
