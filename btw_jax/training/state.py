"""The state that a run carries from step to step and from epoch to epoch."""

from collections.abc import Mapping
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax import weighting


class TrainState(NamedTuple):
  """The part of the state that a training step changes.

  Attributes:
    step: scalar, number of steps taken.
    params: the network's parameters.
    opt_state: the optimizer's state.
    hook_state: the state of the trainer's hook.
  """

  step: chex.Array
  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  hook_state: chex.ArrayTree = ()


class RunParams(NamedTuple):
  """The traced values that differ between the settings of one program.

  Attributes:
    variant: scalar int, a position in the rule's variants.
    strength: scalar λ in [0, 1].
    scale: scalar c, the embedding scale.
    is_open: `[M]` bool, False for modalities that the gate closes; None if all
      are open. A rule that keeps a table of weights needs None.
    last_epoch: `[U]` the epoch whose model is kept, from 0; None to keep the
      one with the lowest validation loss.
    rate: scalar factor of the optimizer's updates; None for 1.
    value: scalar, the setting of the trainer's hook; None for its default.
  """

  variant: chex.Array
  strength: chex.Array
  scale: chex.Array
  is_open: chex.Array | None = None
  last_epoch: chex.Array | None = None
  rate: chex.Array | None = None
  value: chex.Array | None = None

  def gate(self, batch: types.Batch) -> types.Batch:
    """Marks closed modalities of a batch as missing.

    The model then weighs them 0 and all others the same, as if it had been
    built without them. An example that has closed modalities only keeps them:
    its prediction would otherwise come from nothing.
    """
    if self.is_open is None:
      return batch
    gated = batch.present & self.is_open
    has_any = jnp.any(gated, axis=-1, keepdims=True)
    return batch._replace(present=jnp.where(has_any, gated, batch.present))


class UnseenPrior(NamedTuple):
  """The results of training that weigh an example outside the training set.

  Attributes:
    prior: `[M]` expected weights.
    alpha: scalar, share of the weights computed for the example itself.
    information: each of the rule's `statistics` -> `[M]`, as estimated on the
      training set: measures of information, and the range of divergences.
  """

  prior: chex.Array
  alpha: chex.Array
  information: Mapping[str, chex.Array]


class Weights(NamedTuple):
  """The weights of a training set and the information behind them.

  Attributes:
    average: the moving average W.
    information: each of the rule's `statistics` -> `[M]` of the latest refresh.
    examples: `[N, 1]` factor of each example in the loss, 1 on average; None
      if all examples count the same.
  """

  average: weighting.WeightState
  information: Mapping[str, chex.Array]
  examples: chex.Array | None


class Refreshed(NamedTuple):
  """The result of a weight refresh.

  Attributes:
    table: `[N, M]` weights of the training examples.
    information: each of the rule's `statistics` -> `[M]`.
    examples: `[N, 1]` factor of each example in the loss, or None.
  """

  table: chex.Array
  information: Mapping[str, chex.Array]
  examples: chex.Array | None


class CrossFit(NamedTuple):
  """The validation of each example at the best epoch of the others.

  Attributes:
    loss: `[U, 2]` the lowest validation loss of each half of the examples.
    outputs: `[U, N', K]` outputs for the N' validation examples of
      `crossfit.rows`, at the best epoch of the half that does not hold the
      example; NaN if no loss was finite.
  """

  loss: chex.Array
  outputs: chex.Array


class Best(NamedTuple):
  """The best epoch so far by validation loss, for each of U models.

  Attributes:
    loss: `[U]` validation loss.
    epoch: `[U]` number of the epoch.
    params: parameters after that epoch.
    unseen_prior: how that epoch weighed unseen examples; None without weights.
    crossfit: the validation of each example, by which runs are compared.
  """

  loss: chex.Array
  epoch: chex.Array
  params: chex.ArrayTree
  unseen_prior: UnseenPrior | None
  crossfit: CrossFit


class RunState(NamedTuple):
  """The state of one run.

  Attributes:
    train: the part that a training step changes.
    weights: the part that a refresh changes; None without weights.
    best: the best epoch so far.
  """

  train: TrainState
  weights: Weights | None
  best: Best


def num_bytes(tree: chex.ArrayTree) -> int:
  """Returns the size of the different arrays of a pytree, or of their shapes.

  An array that the pytree holds several times counts once.
  """
  arrays = {id(x): x for x in jax.tree.leaves(tree)}
  return sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays.values())
