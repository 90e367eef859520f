"""The training step, and a compiled epoch made of it."""

from collections.abc import Callable, Mapping
import dataclasses
import functools

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
      guide = _guide(weights, train.batch.present)
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

  def train_epoch(
    self,
    run: state_lib.RunState,
    cell: state_lib.Cell,
    seed: chex.Array,
    epoch: chex.Array,
    train: state_lib.Split,
  ) -> tuple[state_lib.TrainState, dict[str, chex.Array]]:
    """The steps of an epoch, as one scan over shuffled indices.

    Args:
      run: the run.
      cell: what the run is about.
      seed: scalar int.
      epoch: scalar int, from 0.
      train: training split.

    Returns:
      What the steps changed, and train_loss and train_score `[U]`; with
      experts also routing `[L, M, E]`, the share of a modality's gates that
      each expert got, and the mean of each penalty.
    """
    num_examples = train.batch.present.shape[0]
    num_steps = num_examples // self.batch_size
    key = jax.random.fold_in(_key(seed, _SHUFFLE), epoch)
    order = jax.random.permutation(key, num_examples)
    order = order[: num_steps * self.batch_size]

    # Once for all steps: weights rest within an epoch, and on CPU each of these
    # small operations costs a step more than the whole set costs an epoch.
    table = weighting.uniform(train.batch.present)
    if self.rule.weighs:
      table = run.weights.average.table
    multipliers = weighting.multipliers(
      table, train.batch.present, strength=cell.strength, scale=cell.scale
    )

    def body(state, rows):
      rows = data_parallel.my_share(rows)
      batch = jax.tree.map(lambda x: x[rows], train.batch)
      key = jax.random.fold_in(_key(seed, _DROPOUT), state.step)
      key = jax.random.fold_in(key, jax.lax.axis_index(data_parallel.AXIS))
      return self.step(state, batch, multipliers[rows], key)

    state, sums = jax.lax.scan(
      body, run.train, order.reshape(num_steps, self.batch_size)
    )
    sums = jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)
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
    return state, log

  def epoch(
    self,
    run: state_lib.RunState,
    cell: state_lib.Cell,
    seed: chex.Array,
    epoch: chex.Array,
    train: state_lib.Split,
    valid: state_lib.Split,
  ) -> tuple[state_lib.RunState, dict[str, chex.Array]]:
    """One pass over the shuffled training set, then weights and validation.

    Args:
      run: the run.
      cell: what the run is about.
      seed: scalar int.
      epoch: scalar int, from 0.
      train: training split; a remainder smaller than a batch is left out, a
        different one every epoch.
      valid: validation split.

    Returns:
      The run after the epoch, and what to log: train_loss, train_score,
      valid_loss, valid_score `[U]`, and weights `[M]`, alpha if weighted.
    """
    state, log = self.train_epoch(run, cell, seed, epoch, train)
    weights = run.weights
    if self.rule.weighs:
      due = epoch % self.rule.refresh_every == 0
      refresh = functools.partial(
        self._refresh, state.params, weights, cell, train
      )
      if self.rule.refresh_every == 1:
        # On CPU a conditional costs as much as the refresh.
        new, information = refresh()
      else:
        new, information = jax.lax.cond(
          due,
          refresh,
          lambda: (weights.average.table, weights.information),
        )
      weights = weights._replace(information=information)
    guide = _guide(weights, train.batch.present) if weights else None
    outputs, _ = self.predict(state.params, guide, cell, valid)
    loss, score = self.measure(outputs, valid.batch)
    log |= {"valid_loss": loss, "valid_score": score}
    if self.rule.weighs:
      average = weighting.update(weights.average, new, loss[0])
      average = jax.tree.map(
        lambda a, b: jnp.where(due, a, b), average, weights.average
      )
      weights = weights._replace(average=average)
      log |= {
        "weights": weighting.prior(
          self._effective(average.table, cell, train.batch.present),
          train.batch.present,
        ),
        "alpha": average.alpha,
      }
    best = side_by_side.keep_best(
      run.best,
      loss,
      epoch,
      state.params,
      guide,
      self.network.models(state.params),
      self.patience,
    )
    return state_lib.RunState(state, weights, best), log

  def predict(
    self,
    params: chex.ArrayTree,
    guide: state_lib.Guide | None,
    cell: state_lib.Cell,
    split: state_lib.Split,
  ) -> tuple[chex.Array, chex.Array]:
    """Outputs for examples that the weights have no history of.

    Args:
      params: the network's parameters.
      guide: what training left for weighing them; None weighs them equally.
      cell: what the run is about.
      split: the examples, their targets not read.

    Returns:
      Outputs `[U, N, K]`, and the weights used `[N, M]`, strength applied.
    """

    def of_examples(examples):
      batch, unimodal = examples
      present = batch.present
      embeddings = self._apply(params, batch, method="encode")

      def outputs_of(weights):
        multipliers = weighting.multipliers(
          weights, present, strength=cell.strength, scale=cell.scale
        )
        outputs, _ = self._apply(
          params, embeddings, batch, multipliers, method="fuse"
        )
        return outputs

      def reweigh(weights):
        return self.rule.weigh(
          self.task.predict(jnp.swapaxes(unimodal, 0, 1)),
          self.task.predict(outputs_of(weights)[0]),
          present,
          guide.information,
          cell.variant,
        )

      weights = weighting.uniform(present)
      if guide is not None:
        weights = weighting.unseen(
          reweigh,
          guide.prior,
          guide.alpha,
          present,
          num_refinements=self.rule.num_refinements,
        )
      outputs = jnp.swapaxes(outputs_of(weights), 0, 1)
      return outputs, self._effective(weights, cell, present)

    unimodal = None if guide is None else jnp.swapaxes(split.unimodal, 0, 1)
    outputs, weights = data_parallel.map_examples(
      of_examples,
      (split.batch._replace(target=None), unimodal),
      at_once=self._at_once,
    )
    return jnp.swapaxes(outputs, 0, 1), weights

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

  def _refresh(self, params, weights, cell, train):
    """New weights of the training set, and the information behind them."""
    batch = train.batch

    def outputs_of(examples):
      batch, table = examples
      multipliers = weighting.multipliers(
        table, batch.present, strength=cell.strength, scale=cell.scale
      )
      outputs, _ = self._apply(params, batch, multipliers)
      return outputs[0]

    outputs = data_parallel.map_examples(
      outputs_of,
      (batch._replace(target=None), weights.average.table),
      at_once=self._at_once,
    )
    pair = self.task.predict(train.unimodal), self.task.predict(outputs)
    information = self.rule.information(*pair, batch.present)
    new = self.rule.weigh(*pair, batch.present, information, cell.variant)
    return new, information

  @property
  def _at_once(self):
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

  def _effective(self, weights, cell, present):
    """Weights with the strength applied: rows sum to 1."""
    return weighting.uniform(present) * weighting.multipliers(
      weights, present, strength=cell.strength
    )

  def _apply(self, params, *args, method: Callable | str | None = None):
    return self.network.apply(
      {"params": params}, *args, train=False, method=method
    )


def _key(seed, stream):
  return jax.random.fold_in(jax.random.key(seed), stream)


def _guide(weights, present):
  average = weights.average
  return state_lib.Guide(
    weighting.prior(average.table, present), average.alpha, weights.information
  )
