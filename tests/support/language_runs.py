"""Small runs of the language model."""

import dataclasses

import jax

from btw_jax import types
from btw_jax.pipeline.language import config as config_lib
from btw_jax.pipeline.language import run as run_lib
from btw_jax.pipeline.language import setup as setup_lib


def config(folder, **settings):
  """Returns the configuration of a run of a few seconds."""
  small = config_lib.LanguageConfig(
    workdir=str(folder),
    tasks=("shown", "shown_choice", "arithmetic", "add"),
    audio="none",
    embedding_dim=16,
    hidden_dim=16,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    num_seeds=2,
    num_epochs=2,
    num_train=1024,
    learning_rate=1e-2,
    num_valid=120,
    num_test=120,
    batch_size=64,
  )
  return dataclasses.replace(small, **settings)


def untrained(**settings):
  """Returns the models of a small run before their first step."""
  setup = setup_lib.make(config("", **settings))
  batch = jax.tree.map(lambda x: x[:1], setup.questions("valid").to_batch())
  params = jax.vmap(
    lambda seed: setup.trainer.init(seed, types.Split(batch, None)).best.params
  )(jax.numpy.asarray(setup.config.seeds))
  return run_lib.FinishedRun(setup, params)
