"""Measures what balancing methods add to an epoch of digits, with ten seeds."""

import tempfile

import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.methods.balance import catalog
from btw_jax.pipeline import balancing
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import train_run
from btw_jax.training import loop
from btw_jax.training import model_checkpoints
from btw_jax.training import vectorized_runs
from experiments.benchmarks import timing

_NUM_SEEDS = 10
_CHEAP, _DEAR = "at most 1.5", "at most 2.5"
_TARGETS = {
  "ogm": _CHEAP,
  "ogm_ge": _CHEAP,
  "opm": _CHEAP,
  "umt": _CHEAP,
  "modality_dropout": _CHEAP,
  "mixup": _CHEAP,
  "mmpareto": _DEAR,
  "agm": _DEAR,
  "unimodal_losses": _DEAR,
}


def run(rounds: int) -> list[dict[str, str]]:
  """Measures an epoch with each method against one of the uniform model."""
  config = config_lib.make(
    num_seeds=_NUM_SEEDS,
    weighting=("uniform",),
    balance=tuple(catalog.METHODS),
  )
  with tempfile.TemporaryDirectory() as folder:
    config = config_lib.replace(config, workdir=folder)
    datasets, saved = train_run.read_datasets(config)
    trained = train_run.prepare(saved, datasets, interrupt_lib.Interrupt())
    trained.workdir.close()
    trained.progress.close()
  specs = {"": vectorized_runs.RunSpec("uniform", 0.0, 1.0)}
  specs |= {
    name: of_method[0]
    for name, of_method in balancing.plan(config).balanced.items()
  }
  plain = _epochs(trained, specs[""])
  rows = []
  for name in catalog.METHODS:
    first, second, ratio = timing.compare(
      _epochs(trained, specs[name]), plain, rounds
    )
    rows.append(
      timing.row(
        f"epoch with {name} / uniform",
        first / _NUM_SEEDS,
        second / _NUM_SEEDS,
        ratio,
        _TARGETS.get(name, ""),
      )
    )
  return rows


def _epochs(run, spec):
  """Returns a function that trains an epoch of one setting."""
  trainer = run.trainers.unweighted
  batches = run.inputs.splits
  if spec.balance:
    trainer = balancing.trainer(
      run.trainers, spec.balance, [spec], run.config, _unimodal(run, batches)
    )
  runner = loop.make_runner(
    trainer,
    [spec],
    run.config.seeds,
    *(types.Split(batches[split], None) for split in ("train", "valid")),
  )
  return lambda: jax.block_until_ready(runner.run_epoch(0))


def _unimodal(run, batches):
  """Returns untrained models of the modalities."""
  trainer = run.trainers.unimodal
  batch = jax.tree.map(lambda x: x[0, :1], batches["train"])
  params = jax.vmap(
    lambda seed: trainer.init(seed, types.Split(batch, None)).best.params
  )(jnp.asarray(run.config.seeds))
  return model_checkpoints.Unimodal(params, [])
