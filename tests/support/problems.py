"""Small learning problems, and trainers of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.parallel import device_map
from btw_jax.training import loop
from btw_jax.training import predictor
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule

WIDTHS = (5, 3, 4)
# Adam divides by the size of a gradient, which turns the rounding of a small
# one into a step of full size: programs are compared under this instead.
SMOOTH = optax.sgd(0.1, momentum=0.9)
PLAIN = [vectorized_runs.RunSpec("uniform", 0.0, 1.0)]
WEIGHTED = [
  vectorized_runs.RunSpec("kl+mi", 1.0, 1.0),
  vectorized_runs.RunSpec("mi", 0.5, 0.5),
  vectorized_runs.RunSpec("kl", 0.25, 1.0),
]
WEIGHTED_AND_PLAIN = [
  vectorized_runs.RunSpec("kl+mi", 1.0, 1.0),
  vectorized_runs.RunSpec("uniform", 0.0, 1.0),
]
RULE = weighting_rule.Rule(variants=("uniform", "kl", "mi", "kl+mi"))
PLAIN_RULE = weighting_rule.Rule()


def batch(num_examples=48, seed=0, *, missing=0.0, task="multiclass"):
  """Returns a batch: two modalities show the target, one is noise."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, 3, num_examples)
  features = np.zeros((num_examples, 3, max(WIDTHS)), np.float32)
  for m, width in enumerate(WIDTHS):
    signal = np.random.default_rng(m).normal(size=(3, width))[label]
    share = (1.0, 0.7, 0.0)[m]
    noise = rng.normal(size=(num_examples, width))
    features[:, m, :width] = share * signal + 0.5 * noise
  present = rng.random((num_examples, 3)) >= missing
  present[:, 0] |= ~present.any(1)
  features = np.where(present[..., None], features, 0).astype("f")
  target = label if task == "multiclass" else label - 1.0
  target = target.astype("i" if task == "multiclass" else "f")
  return types.Batch(*map(jnp.asarray, (features, present, target)))


def trainer(
  network=networks.Concatenation,
  rule=PLAIN_RULE,
  *,
  task="multiclass",
  dropout=0.1,
  batch_size=16,
  optimizer=None,
):
  """Returns a small trainer."""
  task_definition = tasks.make(task, 3)
  sizes = networks.Sizes(
    WIDTHS,
    task_definition.num_outputs,
    hidden_dim=8,
    embedding_dim=6,
    dropout=dropout,
  )
  optimizer = optimizer or optax.adamw(1e-2)
  return trainer_lib.Trainer(
    network(sizes), task_definition, optimizer, batch_size, rule
  )


def leaves(*trees):
  """Yields the leaves of several trees side by side, on the host."""
  return zip(*(jax.tree.leaves(jax.device_get(t)) for t in trees), strict=True)


def never_multiplied(network):
  """Returns a subclass that ignores the multipliers."""

  class Plain(network):
    def fuse(self, embeddings, batch, multipliers, *, train):
      return super().fuse(embeddings, batch, None, train=train)

  return Plain


def mixture(**changes):
  """Returns a function from sizes to a small mixture of experts."""
  settings = fusion.Mixture(**{"num_experts": 6, **changes})

  def make_network(sizes):
    sizes = dataclasses.replace(sizes, num_heads=2, num_layers=1)
    return fusion.MixtureOfExperts(sizes, settings)

  return make_network


def splits(seeds=(0,), *, task="multiclass", **options):
  """Returns train and valid with unimodal outputs `[S, M, N, K]`."""
  return [*_splits(tuple(seeds), task, **options)]


@functools.cache
def _splits(seeds, task, **options):
  unimodal = trainer(networks.Unimodal, task=task, **options)
  bare = [
    types.Split(batch(n, seed, missing=0.2, task=task), None)
    for n, seed in ((48, 0), (24, 1))
  ]
  best, _ = fit(unimodal, PLAIN, seeds, *bare, num_epochs=3)
  params = vectorized_runs.select_setting(best.params, 0)
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(unimodal.rule, PLAIN), 0
  )
  return [
    split._replace(
      unimodal=jnp.asarray(
        predictor.Predictor(unimodal)(cell, params, None, split)[0]
      )
    )
    for split in bare
  ]


def fit(stage_trainer, choices, seeds, train, valid, *, num_epochs=4):
  """Trains; returns the best epochs and the logs."""
  logs = []
  best = loop.fit(
    stage_trainer,
    choices,
    seeds,
    train,
    valid,
    num_epochs=num_epochs,
    callbacks=loop.Callbacks(on_epoch=lambda epoch, log: logs.append(log)),
  )
  return jax.device_get(best), logs


def loss(stage_trainer, outputs, batch):
  """Computes the mean loss `[U]` of outputs `[U, N, K]`."""
  mapped = jax.vmap(
    lambda part: stage_trainer.mean_over_devices(*stage_trainer.measure(*part))[
      0
    ],
    axis_name=device_map.AXIS,
  )
  return jax.jit(mapped)(jax.tree.map(lambda x: x[None], (outputs, batch)))[0]
