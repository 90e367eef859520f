"""The training step, and a compiled epoch made of it."""

from collections.abc import Callable
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
from btw_jax.training import state as state_lib

# Streams of random numbers, folded into a run's seed.
_INIT, _SHUFFLE, _DROPOUT = range(3)


@dataclasses.dataclass(frozen=True)
class Trainer:
  """All that is fixed while a program trains; its methods are pure.

  Attributes:
    network: a module of `models.networks`.
    task: what its outputs mean.
    optimizer: its updates must act on each parameter alone.
    batch_size: examples of a step, over all devices.
    rule: how weights are computed.
  """

  network: nn.Module
  task: tasks.Task
  optimizer: optax.GradientTransformation
  batch_size: int
  rule: rule_lib.Rule = dataclasses.field(default_factory=rule_lib.Rule)

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
    params = self.network.init(
      _key(seed, _INIT), batch.features, None, train=False
    )["params"]
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
      The next state, and sums over the whole batch: loss, score, count `[U]`.
    """
    where = self.network.where(batch.present)
    count = jax.lax.psum(
      jnp.sum(where, axis=-1).astype(jnp.float32), data_parallel.AXIS
    )

    def loss(params):
      outputs = self.network.apply(
        {"params": params},
        batch.features,
        multipliers,
        train=True,
        rngs={"dropout": key},
      )
      losses = jnp.where(where, self.task.loss(outputs, batch.target), 0.0)
      losses = jnp.sum(losses, axis=-1)
      scores = jnp.where(where, self.task.score(outputs, batch.target), 0.0)
      mean = jnp.sum(losses / jnp.maximum(count, 1.0))
      return mean, (losses, jnp.sum(scores, axis=-1))

    gradients, sums = jax.grad(loss, has_aux=True)(state.params)
    gradients, (losses, scores) = jax.lax.psum(
      (gradients, sums), data_parallel.AXIS
    )
    updates, opt_state = self.optimizer.update(
      gradients, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    next_state = state_lib.TrainState(state.step + 1, params, opt_state)
    return next_state, {"loss": losses, "score": scores, "count": count}

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
      What the steps changed, and train_loss and train_score `[U]`.
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
    return state, {
      "train_loss": sums["loss"] / count,
      "train_score": sums["score"] / count,
    }

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
    best = _keep_best(run.best, loss, epoch, state.params, guide)
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
      features, present, unimodal = examples
      embeddings = self._apply(params, features, method="encode")

      def outputs_of(weights):
        multipliers = weighting.multipliers(
          weights, present, strength=cell.strength, scale=cell.scale
        )
        return self._apply(params, embeddings, multipliers, method="fuse")

      def reweigh(weights):
        return self._weigh(
          jnp.swapaxes(unimodal, 0, 1),
          outputs_of(weights)[0],
          present,
          guide.information,
          cell,
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
      of_examples, (split.batch.features, split.batch.present, unimodal)
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
      features, present, table = examples
      multipliers = weighting.multipliers(
        table, present, strength=cell.strength, scale=cell.scale
      )
      return self._apply(params, features, multipliers)[0]

    outputs = data_parallel.map_examples(
      outputs_of, (batch.features, batch.present, weights.average.table)
    )
    unimodal = self.task.predict(train.unimodal)
    information = {
      measure: weighting.set_information(
        unimodal,
        self.task.predict(outputs),
        present=batch.present,
        measure=measure,
        transform=self.rule.transform,
      )
      for measure in self.rule.measures
    }
    new = self._weigh(train.unimodal, outputs, batch.present, information, cell)
    return new, information

  def _weigh(self, unimodal, outputs, present, information, cell):
    """Weights `[N, M]` of the cell's variant from raw outputs."""
    each = [
      weighting.weigh(
        self.task.predict(unimodal),
        self.task.predict(outputs),
        present=present,
        variant=variant,
        information=information.get(weighting.VARIANTS[variant][1]),
        kind=self.rule.divergence,
        agreement=self.rule.agreement,
      )
      for variant in self.rule.variants
    ]
    return jnp.stack(each)[cell.variant]

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


def _keep_best(best, loss, epoch, params, guide):
  """The better of two epochs, for each model trained together."""
  improved = loss < best.loss

  def select(new, old):
    # Models trained together carry a leading U axis in every parameter.
    shape = improved.shape + (1,) * (new.ndim - 1)
    mask = improved.reshape(shape) if len(improved) > 1 else improved[0]
    return jnp.where(mask, new, old)

  return state_lib.Best(
    loss=jnp.where(improved, loss, best.loss),
    epoch=jnp.where(improved, epoch, best.epoch),
    params=jax.tree.map(select, params, best.params),
    guide=jax.tree.map(
      lambda new, old: jnp.where(improved[0], new, old), guide, best.guide
    ),
  )
