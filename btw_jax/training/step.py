"""The training step, on a batch that is spread over devices."""

from collections.abc import Callable, Mapping
import dataclasses

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from btw_jax import tasks
from btw_jax import types
from btw_jax import weighting
from btw_jax.training import data_parallel
from btw_jax.training import rule as rule_lib
from btw_jax.training import side_by_side
from btw_jax.training import state as state_lib

# Streams of random numbers, folded into a run's seed.
_INIT, _SHUFFLE, _DROPOUT = range(3)
_TOKENS_AT_ONCE = 2**16


@dataclasses.dataclass(frozen=True)
class Trainer:
  """All that is fixed while a program trains; its methods are pure.

  Attributes:
    network: a module of `models.networks`.
    task: what its outputs mean.
    optimizer: its updates must act on each parameter alone.
    batch_size: examples of a step, over all devices.
    rule: how weights are computed.
    penalties: what the network's `penalties` cost, name -> factor.
    max_norm: gradients are shortened to it, each model's own; None leaves them.
    patience: epochs without a better one after which a run keeps what it has.
  """

  network: nn.Module
  task: tasks.Task
  optimizer: optax.GradientTransformation
  batch_size: int
  rule: rule_lib.Rule = dataclasses.field(default_factory=rule_lib.Rule)
  penalties: Mapping[str, float] = dataclasses.field(default_factory=dict)
  max_norm: float | None = None
  patience: int | None = None

  def init(
    self, seed: chex.Array, train: state_lib.Split
  ) -> state_lib.RunState:
    """A run before its first step.

    Args:
      seed: scalar int.
      train: the training split.

    Returns:
      Its state, the same for every cell of a seed.
    """
    batch = jax.tree.map(lambda x: x[:1], train.batch)
    params = self.network.init(_key(seed, _INIT), batch, None, train=False)[
      "params"
    ]
    num_models = self.network.where(batch.present).shape[0]
    weights = guide = None
    num_examples, num_modalities = train.batch.present.shape
    if self.rule.weighs:
      average = weighting.init(
        num_examples, num_modalities, train.batch.present
      )
      none = {m: jnp.zeros(num_modalities) for m in self.rule.measures}
      weights = state_lib.Weights(average, none)
      guide = make_guide(weights, train.batch.present)
    return state_lib.RunState(
      state_lib.TrainState(jnp.int32(0), params, self.optimizer.init(params)),
      weights,
      state_lib.Best(
        # A weak type would compile the second epoch anew.
        loss=jnp.full(num_models, jnp.inf, jnp.float32),
        epoch=jnp.full(num_models, -1, jnp.int32),
        params=params,
        guide=guide,
      ),
    )

  def step(
    self,
    state: state_lib.TrainState,
    batch: types.Batch,
    multipliers: chex.Array | None,
    key: chex.PRNGKey,
  ) -> tuple[state_lib.TrainState, chex.ArrayTree]:
    """One update on a batch that is spread over the devices of `AXIS`.

    Args:
      state: what to update.
      batch: this device's share.
      multipliers: `[B, M]` of the embeddings, or None for the plain model.
      key: of dropout, different on every device.

    Returns:
      The next state, and sums over the whole batch: loss, score, count `[U]`;
      with experts also how they were used, and the penalties for it.
    """
    where = self.network.where(batch.present)
    count = jax.lax.psum(
      jnp.sum(where, axis=-1).astype(jnp.float32), data_parallel.AXIS
    )

    def loss(params):
      outputs, usage = self.network.apply(
        {"params": params},
        batch,
        multipliers,
        train=True,
        rngs={"dropout": key},
      )
      losses = jnp.where(where, self.task.loss(outputs, batch.target), 0.0)
      losses = jnp.sum(losses, axis=-1)
      scores = jnp.where(where, self.task.score(outputs, batch.target), 0.0)
      mean = jnp.sum(losses / jnp.maximum(count, 1.0))
      sums = {"loss": losses, "score": jnp.sum(scores, axis=-1)}
      if usage is not None:
        mean += self._cost(usage)
        sums["usage"] = usage
      return mean, sums

    gradients, sums = jax.grad(loss, has_aux=True)(state.params)
    gradients, sums = jax.lax.psum((gradients, sums), data_parallel.AXIS)
    if self.max_norm is not None:
      owners = self.network.models(gradients)
      gradients = side_by_side.clip(
        gradients, self.max_norm, owners, len(count)
      )
    updates, opt_state = self.optimizer.update(
      gradients, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    next_state = state_lib.TrainState(state.step + 1, params, opt_state)
    if "usage" in sums:
      sums["penalties"] = self.network.penalties(sums["usage"])
    return next_state, {**sums, "count": count}

  def order(
    self, seed: chex.Array, epoch: chex.Array, num_examples: int
  ) -> chex.Array:
    """The order in which a seed sees its examples in an epoch, `[N]`."""
    key = jax.random.fold_in(_key(seed, _SHUFFLE), epoch)
    return jax.random.permutation(key, num_examples)

  def batch_step(
    self,
    run: state_lib.RunState,
    cell: state_lib.Cell,
    seed: chex.Array,
    batch: types.Batch,
    rows: chex.Array,
  ) -> tuple[state_lib.RunState, chex.ArrayTree]:
    """One update on a batch that was read from elsewhere.

    Args:
      run: the run.
      cell: what the run is about.
      seed: scalar int.
      batch: the whole batch, `[B, ...]`.
      rows: `[B]` numbers of its examples.

    Returns:
      The run, and what `step` sums.
    """
    rows, batch = jax.tree.map(
      lambda x: x[data_parallel.my_share(jnp.arange(len(rows)))], (rows, batch)
    )
    multipliers = weighting.multipliers(
      self.table(run, batch.present, rows),
      batch.present,
      strength=cell.strength,
      scale=cell.scale,
    )
    state, sums = self.drawn_step(run.train, batch, multipliers, seed)
    return run._replace(train=state), sums

  def drawn_step(
    self,
    state: state_lib.TrainState,
    batch: types.Batch,
    multipliers: chex.Array,
    seed: chex.Array,
  ) -> tuple[state_lib.TrainState, chex.ArrayTree]:
    """A step with the dropout that a seed draws for it on this device."""
    key = jax.random.fold_in(_key(seed, _DROPOUT), state.step)
    key = jax.random.fold_in(key, jax.lax.axis_index(data_parallel.AXIS))
    return self.step(state, batch, multipliers, key)

  def table(
    self,
    run: state_lib.RunState,
    present: chex.Array,
    rows: chex.Array | slice = slice(None),
  ) -> chex.Array:
    """Weights `[B, M]` of training examples, by number; uniform if plain."""
    if self.rule.weighs:
      return run.weights.average.table[rows]
    return weighting.uniform(present)

  def training_log(
    self, sums: chex.ArrayTree, num_steps: int
  ) -> dict[str, chex.ArrayTree]:
    """What an epoch logs of its training.

    Args:
      sums: of what `step` returns, over the epoch.
      num_steps: steps that they are of.

    Returns:
      train_loss and train_score `[U]`; with experts also routing `[L, M, E]`
      and the mean of each penalty.
    """
    count = jnp.maximum(sums["count"], 1.0)
    log = {
      "train_loss": sums["loss"] / count,
      "train_score": sums["score"] / count,
    }
    if "usage" in sums:
      usage = sums["usage"]
      log["routing"] = (
        usage.importance / jnp.maximum(usage.tokens, 1.0)[..., None]
      )
      log["penalties"] = jax.tree.map(
        lambda x: x / num_steps, sums["penalties"]
      )
    return log

  def measure(
    self, outputs: chex.Array, batch: types.Batch
  ) -> tuple[chex.Array, chex.Array]:
    """Mean loss and score `[U]` of outputs `[U, N, K]`."""
    where = self.network.where(batch.present)
    count = jnp.maximum(jnp.sum(where, axis=-1), 1)

    def mean(values):
      return jnp.sum(jnp.where(where, values, 0.0), axis=-1) / count

    return (
      mean(self.task.loss(outputs, batch.target)),
      mean(self.task.score(outputs, batch.target)),
    )

  @property
  def at_once(self):
    """Examples to predict at once: attention keeps a square of their tokens."""
    return max(1, _TOKENS_AT_ONCE // len(self.network.sizes.tokens))

  def _cost(self, usage):
    """Added to the loss of this device: its share of what penalties cost.

    They are of the whole batch. To first order, hence in the gradient, each
    device adds its own sums times the derivative at the sums of all.
    """

    def cost(usage):
      found = self.network.penalties(usage)
      return sum(self.penalties.get(name, 0.0) * v for name, v in found.items())

    everywhere = jax.lax.psum(usage, data_parallel.AXIS)
    slopes = jax.grad(cost)(jax.lax.stop_gradient(everywhere))
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, slopes, usage)))

  def apply(
    self,
    params: chex.ArrayTree,
    *args: chex.ArrayTree,
    method: Callable | str | None = None,
  ) -> chex.ArrayTree:
    """What the network, or a method of it, gives without dropout."""
    return self.network.apply(
      {"params": params}, *args, train=False, method=method
    )


def _key(seed, stream):
  return jax.random.fold_in(jax.random.key(seed), stream)


def make_guide(
  weights: state_lib.Weights, present: chex.Array
) -> state_lib.Guide:
  """How to weigh unseen examples, by what is known of the training set.

  Args:
    weights: of the training set.
    present: `[N, M]` bool, of the training set.

  Returns:
    The guide.
  """
  average = weights.average
  return state_lib.Guide(
    weighting.prior(average.table, present), average.alpha, weights.information
  )
