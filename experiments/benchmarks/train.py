"""Speed of training: against eager PyTorch, and what weighting costs."""

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
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import loop
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule
from experiments.benchmarks import timing

# CMU-MOSI: text, audio and video of 1,447 utterances, 244 to validate.
WIDTHS = (100, 73, 100)
_NUM_TRAIN, _NUM_VALID, _BATCH = 1447, 244, 32
NUM_STEPS = _NUM_TRAIN // _BATCH
_HIDDEN, _DROPOUT, _RATE = 64, 0.1, 1e-3


def run(rounds: int) -> list[dict[str, str]]:
  """A fusion step against eager PyTorch, and what weighting costs.

  Args:
    rounds: turns of each side.

  Returns:
    Rows of a table.
  """
  rows = []
  eager = _torch_epoch()
  for num_seeds, target in ((1, 4.0), (10, 9.0)) if eager else ():
    ours = steps(trainer(("uniform",)), num_seeds)
    a, b, ratio = timing.compare(eager, ours, rounds)
    rows.append(
      timing.row(
        f"eager PyTorch step / our step, {num_seeds} seed(s)",
        a / NUM_STEPS,
        b / NUM_STEPS / num_seeds,
        ratio * num_seeds,
        f"at least {target:g}",
      )
    )
  for num_seeds in (1, 10):
    weighted, plain = (
      _epochs(variants, num_seeds) for variants in (("kl+mi",), ("uniform",))
    )
    a, b, ratio = timing.compare(weighted, plain, rounds)
    rows.append(
      timing.row(
        f"epoch with kl+mi / uniform, {num_seeds} seed(s)",
        a / num_seeds,
        b / num_seeds,
        ratio,
        "at most 1.15",
      )
    )
  return rows


def _splits(num_seeds):
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


def trainer(
  variants: Sequence[str], batch_size: int = _BATCH
) -> trainer_lib.Trainer:
  """A fusion model of the size of CMU-MOSI.

  Args:
    variants: of the weights.
    batch_size: examples of a step.

  Returns:
    Its trainer.
  """
  task = tasks.make("binary", 1)
  sizes = networks.Sizes(
    WIDTHS,
    task.num_outputs,
    hidden_dim=_HIDDEN,
    embedding_dim=_HIDDEN,
    dropout=_DROPOUT,
  )
  return trainer_lib.Trainer(
    networks.Concatenation(sizes),
    task,
    optax.adamw(_RATE),
    batch_size,
    weighting_rule.Rule(variants=variants),
  )


def steps(own: trainer_lib.Trainer, num_seeds: int) -> Callable[[], Any]:
  """One epoch of training steps alone, as PyTorch does them.

  Args:
    own: as `trainer` makes it.
    num_seeds: trained side by side.

  Returns:
    What trains it.
  """
  train, _ = _splits(num_seeds)
  seeds = jnp.arange(num_seeds)
  cell = _cell(own)

  def epoch(run, seeds, train):
    def of_seed(run, seed):
      return epoch_lib.train_epoch(own, _NUM_TRAIN, run, cell, seed, 0, train)

    return jax.vmap(of_seed)(run, seeds)

  bare = placement.place(
    train._replace(unimodal=None), plans.SlotLayout(_NUM_TRAIN, _BATCH)
  ).split
  same, spread = device_map.REPLICATED, device_map.SHARDED
  run = device_map.parallelise(jax.vmap(own.init, (0, None)), (same, spread))(
    seeds, bare
  )
  compiled = device_map.parallelise(epoch, (same, same, spread))
  return lambda: jax.block_until_ready(compiled(run, seeds, bare))


def _epochs(variants, num_seeds):
  """Whole epochs: steps, refresh if weighted, validation, best epoch kept."""
  train, valid = _splits(num_seeds)
  choice = vectorized_runs.RunSpec(variants[0], 1.0, 1.0)
  own = trainer(variants)
  advance = loop.Program(own, [choice], range(num_seeds), train, valid)
  return lambda: jax.block_until_ready(advance(0))


def _cell(trainer):
  choice = vectorized_runs.RunSpec(trainer.rule.variants[0], 1.0, 1.0)
  return vectorized_runs.select_run(
    vectorized_runs.stack_params(trainer.rule, [choice]), 0
  )


def _torch_epoch():
  """The same model, optimizer and batches in eager PyTorch, or None."""
  torch = timing.library("torch")
  if torch is None:
    return None
  torch.manual_seed(0)
  encoders = torch.nn.ModuleList(
    [
      torch.nn.Sequential(
        torch.nn.Linear(width, _HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(_DROPOUT),
        torch.nn.Linear(_HIDDEN, _HIDDEN),
        torch.nn.ReLU(),
      )
      for width in WIDTHS
    ]
  )
  head = torch.nn.Sequential(
    torch.nn.Linear(len(WIDTHS) * _HIDDEN, _HIDDEN),
    torch.nn.ReLU(),
    torch.nn.Dropout(_DROPOUT),
    torch.nn.Linear(_HIDDEN, 1),
  )
  parameters = [*encoders.parameters(), *head.parameters()]
  optimizer = torch.optim.AdamW(parameters, _RATE)
  features = [torch.randn(_NUM_TRAIN, width) for width in WIDTHS]
  target = torch.randint(0, 2, (_NUM_TRAIN,)).float()
  weights = torch.ones(_NUM_TRAIN, len(WIDTHS))
  loss = torch.nn.functional.binary_cross_entropy_with_logits

  def epoch():
    order = torch.randperm(_NUM_TRAIN)
    for start in range(0, _NUM_TRAIN - _BATCH + 1, _BATCH):
      rows = order[start : start + _BATCH]
      embeddings = [
        encoder(x[rows]) * weights[rows][:, m : m + 1]
        for m, (encoder, x) in enumerate(zip(encoders, features, strict=True))
      ]
      outputs = head(torch.cat(embeddings, dim=-1))[:, 0]
      optimizer.zero_grad()
      loss(outputs, target[rows]).backward()
      optimizer.step()

  return epoch
