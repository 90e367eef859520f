"""Measures speed as ratios of two things run side by side in one process.

  python -m experiments.benchmark --suite=train

Each figure is the median of several rounds after a warm-up; the two sides take
turns, with a pause before each.
"""

from collections.abc import Callable
import os
import pathlib
import statistics
import time

from absl import flags
from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax.models import networks
from btw_jax.training import data_parallel
from btw_jax.training import metrics_writer
from btw_jax.training import rule as rule_lib
from btw_jax.training import stages
from btw_jax.training import state as state_lib
from btw_jax.training import step as step_lib
from experiments import cli
from experiments import report

_SUITE = flags.DEFINE_enum("suite", "train", ["train"], "what to measure")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "rounds of each pair", 3)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")

# CMU-MOSI: text, audio and video of 1,447 utterances, 244 to validate.
_WIDTHS, _NUM_TRAIN, _NUM_VALID, _BATCH = (100, 73, 100), 1447, 244, 32
# Seconds for the threads of one side to go to sleep before the other's turn.
_PAUSE, _TURN = 0.2, 0.3
_HIDDEN, _DROPOUT, _RATE = 64, 0.1, 1e-3


def main() -> None:
  """Runs a suite and prints its table."""
  rows = {"train": train_suite}[_SUITE.value]()
  machine = (
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores,"
    f" JAX {jax.__version__}"
  )
  print(f"{machine}\n\n{report.rows(rows)}")
  if _OUTPUT.value:
    path = pathlib.Path(_OUTPUT.value)
    metrics_writer.write_json(path, {"machine": machine, "rows": rows})


def train_suite() -> list[dict[str, str]]:
  """A fusion step against eager PyTorch, and what weighting costs.

  Returns:
    Rows of a table.
  """
  rows = []
  eager = _torch_epoch()
  steps = _NUM_TRAIN // _BATCH
  for num_seeds, target in ((1, 4.0), (10, 9.0)) if eager else ():
    a, b, ratio = compare(eager, _steps(num_seeds))
    rows.append(
      _row(
        f"eager PyTorch step / our step, {num_seeds} seed(s)",
        1e3 * a / steps,
        1e3 * b / steps / num_seeds,
        ratio * num_seeds,
        f"at least {target:g}",
      )
    )
  for num_seeds in (1, 10):
    weighted, plain = (
      _epochs(variants, num_seeds) for variants in (("kl+mi",), ("uniform",))
    )
    a, b, ratio = compare(weighted, plain)
    rows.append(
      _row(
        f"epoch with kl+mi / uniform, {num_seeds} seed(s)",
        1e3 * a / num_seeds,
        1e3 * b / num_seeds,
        ratio,
        "at most 1.15",
      )
    )
  return rows


def compare(
  first: Callable[[], None], second: Callable[[], None]
) -> tuple[float, float, float]:
  """Times two functions in turns.

  Args:
    first: does its work and waits for it.
    second: likewise.

  Returns:
    Median seconds of each, and the median of the rounds' ratios.
  """
  times = [
    (_seconds(first), _seconds(second)) for _ in range(_ROUNDS.value + 1)
  ][1:]
  a, b = (statistics.median(column) for column in zip(*times, strict=True))
  return a, b, statistics.median(x / y for x, y in times)


def _seconds(function):
  """Mean seconds of a call, over calls that together take `_TURN`."""
  time.sleep(_PAUSE)
  function()
  calls, start = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - start) < _TURN:
    function()
    calls += 1
  return elapsed / calls


def _row(name, first, second, ratio, target):
  return {
    "ratio of": name,
    "first, ms": f"{first:.3f}",
    "second, ms": f"{second:.3f}",
    "ratio": f"{ratio:.2f}",
    "target": target,
  }


def _splits(num_seeds):
  rng = np.random.default_rng(0)

  def split(n):
    features = rng.normal(size=(n, len(_WIDTHS), max(_WIDTHS)))
    batch = types.Batch(
      jnp.asarray(features, jnp.float32),
      jnp.ones((n, len(_WIDTHS)), bool),
      jnp.asarray(rng.integers(0, 2, n), jnp.int32),
    )
    unimodal = rng.normal(size=(num_seeds, len(_WIDTHS), n, 1))
    return state_lib.Split(batch, jnp.asarray(unimodal, jnp.float32))

  return split(_NUM_TRAIN), split(_NUM_VALID)


def _trainer(variants):
  task = tasks.make("binary", 1)
  sizes = networks.Sizes(
    _WIDTHS,
    task.num_outputs,
    hidden_dim=_HIDDEN,
    embedding_dim=_HIDDEN,
    dropout=_DROPOUT,
  )
  return step_lib.Trainer(
    networks.Concatenation(sizes),
    task,
    optax.adamw(_RATE),
    _BATCH,
    rule_lib.Rule(variants=variants),
  )


def _steps(num_seeds):
  """One epoch of training steps alone, as PyTorch does them."""
  trainer = _trainer(("uniform",))
  train, _ = _splits(num_seeds)
  seeds = jnp.arange(num_seeds)
  cell = _cell(trainer)

  def epoch(run, seeds, train):
    def of_seed(run, seed):
      return trainer.train_epoch(run, cell, seed, 0, train)

    return jax.vmap(of_seed)(run, seeds)

  bare = train._replace(unimodal=None)
  run = jax.vmap(trainer.init, (0, None))(seeds, bare)
  compiled = data_parallel.parallelise(epoch)
  return lambda: jax.block_until_ready(compiled(run, seeds, bare))


def _epochs(variants, num_seeds):
  """Whole epochs: steps, refresh if weighted, validation, best epoch kept."""
  trainer = _trainer(variants)
  train, valid = _splits(num_seeds)
  choice = stages.Choice(variants[0], 1.0, 1.0)
  advance = stages.Program(trainer, [choice], range(num_seeds), train, valid)
  return lambda: jax.block_until_ready(advance(0))


def _cell(trainer):
  choice = stages.Choice(trainer.rule.variants[0], 1.0, 1.0)
  return stages.slice_cell(stages.stack_cells(trainer.rule, [choice]), 0)


def _torch_epoch():
  """The same model, optimizer and batches in eager PyTorch, or None."""
  try:
    import torch
  except ImportError:
    logging.warning(
      "PyTorch is not installed: its rows are left out; pip install torch"
    )
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
      for width in _WIDTHS
    ]
  )
  head = torch.nn.Sequential(
    torch.nn.Linear(len(_WIDTHS) * _HIDDEN, _HIDDEN),
    torch.nn.ReLU(),
    torch.nn.Dropout(_DROPOUT),
    torch.nn.Linear(_HIDDEN, 1),
  )
  parameters = [*encoders.parameters(), *head.parameters()]
  optimizer = torch.optim.AdamW(parameters, _RATE)
  features = [torch.randn(_NUM_TRAIN, width) for width in _WIDTHS]
  target = torch.randint(0, 2, (_NUM_TRAIN,)).float()
  weights = torch.ones(_NUM_TRAIN, len(_WIDTHS))
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


if __name__ == "__main__":
  cli.run(main, {"Benchmark": ["suite", "rounds", "output"]})
