"""The methods that balance modalities, on small problems."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import tasks
from btw_jax import types
from btw_jax import weighting
from btw_jax.methods.balance import base
from btw_jax.methods.balance import catalog
from btw_jax.models import networks
from btw_jax.parallel import device_map
from btw_jax.training import state as state_lib
from support import problems

KEY = jax.random.key(7)
# The teacher of a seed must not start from the parameters of its student.
_TEACHER = 100


def step(state, value=None, *, key=KEY, number=0):
  """Returns the step that a hook is called in."""
  if value is not None:
    value = jnp.float32(value)
  return hooks.Step(state, key, jnp.int32(number), value)


def trainer(
  name, network=networks.Concatenation, *, seeds=(0,), acts_on="updates", **more
):
  """Returns a small trainer of a method; see `problems.trainer`."""
  plain = problems.trainer(network, **more)
  method = catalog.load(name)
  reason = method.check(plain.network, plain.batch_size)
  assert reason is None, reason
  sizes = plain.network.sizes
  setup = base.Setup(
    len(sizes.widths), sizes.embedding_dim, acts_on, seeds, *teacher(seeds)
  )
  return dataclasses.replace(
    plain,
    network=method.network(plain.network, plain.task),
    hook=method.make(setup),
  )


def teacher(seeds):
  """Returns the network of unimodal models, and parameters `[S, ...]`."""
  unimodal = problems.trainer(networks.Unimodal)
  split = types.Split(problems.batch(4), None)
  draw = jax.vmap(lambda seed: unimodal.init(seed, split).train.params)
  return unimodal.network, jax.jit(draw)(jnp.asarray(seeds) + _TEACHER)


def after_epochs(hook, number, seed=0):
  """Returns the state of a hook after epochs without steps."""
  state = hook.init(seed)
  for _ in range(number):
    state = hook.end_epoch(state)
  return state


def target(task, number, rng):
  """Draws targets of a task with three classes or labels."""
  drawn = {
    "multiclass": lambda: rng.integers(0, 3, number).astype("i"),
    "binary": lambda: rng.integers(0, 2, number).astype("f"),
    "multilabel": lambda: rng.integers(0, 2, (number, 3)).astype("f"),
    "regression": lambda: rng.normal(size=number).astype("f"),
  }
  return drawn[task]()


@functools.cache
def forward_of(
  num_modalities=3,
  network=networks.Concatenation,
  *,
  task="multiclass",
  missing=0.3,
  dropout=0.0,
  num_examples=12,
):
  """Returns the forward pass of a batch, in which every example is weighted.

  The first example has all modalities, the last one none.
  """
  rng = np.random.default_rng(num_modalities)
  present = rng.random((num_examples, num_modalities)) >= missing
  present[0], present[-1] = True, False
  features = rng.normal(size=(*present.shape, 4)) * present[..., None]
  batch = types.Batch(
    jnp.asarray(features, jnp.float32),
    jnp.asarray(present),
    jnp.asarray(target(task, num_examples, rng)),
  )
  definition = tasks.make(task, 3)
  sizes = networks.Sizes(
    (4,) * num_modalities,
    definition.num_outputs,
    hidden_dim=8,
    embedding_dim=6,
    dropout=dropout,
  )
  module = network(sizes)
  params = jax.jit(module.init, static_argnames="train")(
    jax.random.key(1), batch, None, train=False
  )["params"]
  # Without biases, an output from no modality would be 0.
  params = jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype("f"), params
  )
  multipliers = rng.uniform(0.5, 1.5, present.shape) * present
  return forward_lib.Forward(
    module, definition, params, batch, jnp.asarray(multipliers, jnp.float32),
    KEY, jnp.int32(0), None,
  )  # fmt: skip


def fuse_only(forward, embeddings, subset):
  """Fuses a subset of the modalities the slow way.

  Returns outputs `[B, K]`, and `[B]` bool, whether an example has any of them.
  """
  present = np.asarray(forward.batch.present)
  before = np.asarray(forward.multipliers)
  shown = present & np.asarray(subset, bool)
  multipliers = np.zeros_like(before)
  for i in range(len(present)):
    if shown[i].any():
      factor = before[i, present[i]].mean() / before[i, shown[i]].mean()
      multipliers[i, shown[i]] = factor * before[i, shown[i]]
  batch = forward.batch._replace(present=jnp.asarray(shown))
  outputs = _fuse(
    forward.network, forward.params, forward.key, embeddings, batch, multipliers
  )
  return np.asarray(outputs), shown.any(axis=1)


@functools.partial(jax.jit, static_argnums=0)
def _fuse(network, params, key, embeddings, batch, multipliers):
  outputs, _ = network.apply(
    {"params": params}, embeddings, batch, multipliers, train=True,
    rngs={"dropout": key}, method="fuse",
  )  # fmt: skip
  return outputs[0]


def step_function(stage_trainer, *, seed=3):
  """Returns a function that takes the steps on a batch.

  Its arguments are the state, the batch, the setting of the method and the
  number of simulated devices that the batch is sharded over. It returns the
  state and the sums, `[shards, ...]`.
  """

  def steps(state, value, batch, multipliers):
    run_params = state_lib.RunParams(
      jnp.int32(0), jnp.float32(0), jnp.float32(1), value=value
    )
    return stage_trainer.steps(
      state, batch, multipliers, seed, None, run_params
    )

  mapped = jax.jit(
    jax.vmap(steps, (None, None, 0, 0), axis_name=device_map.AXIS)
  )

  def step(state, batch, *, value=None, shards=1):
    multipliers = weighting.multipliers(
      weighting.uniform(batch.present), batch.present
    )
    parts = jax.tree.map(
      lambda x: x.reshape(shards, -1, *x.shape[1:]), (batch, multipliers)
    )
    return mapped(state, value, *parts)

  return step


def step_on(stage_trainer, batch, *, value=None, seed=3):
  """Takes the first steps of a seed; returns the states and the sums."""
  split = types.Split(batch, None)
  state = jax.jit(stage_trainer.init)(seed, split).train
  value = None if value is None else jnp.float32(value)
  return state, *step_function(stage_trainer, seed=seed)(
    state, batch, value=value
  )


def with_present(forward, present):
  """Returns a forward pass whose examples lack more modalities."""
  batch = forward.batch._replace(present=jnp.asarray(present))
  multipliers = jnp.where(batch.present, forward.multipliers, 0.0)
  return dataclasses.replace(forward, batch=batch, multipliers=multipliers)
