"""What a run carries from step to step, and from epoch to epoch."""

from collections.abc import Mapping
from typing import NamedTuple

import chex

from btw_jax import weighting


class TrainState(NamedTuple):
  """What a step changes.

  Attributes:
    step: scalar, steps taken.
    params: the network's parameters.
    opt_state: the optimizer's state.
  """

  step: chex.Array
  params: chex.ArrayTree
  opt_state: chex.ArrayTree


class RunParams(NamedTuple):
  """What tells one run of a program from another, apart from its seed.

  Attributes:
    variant: scalar int, a position in the rule's variants.
    strength: scalar λ in [0, 1].
    scale: scalar c, the embedding scale.
  """

  variant: chex.Array
  strength: chex.Array
  scale: chex.Array


class UnseenPrior(NamedTuple):
  """What weighing an example never seen takes from training.

  Attributes:
    prior: `[M]` weights to expect.
    alpha: scalar, share of the weights computed for the example itself.
    information: measure -> `[M]`, as estimated on the training set.
  """

  prior: chex.Array
  alpha: chex.Array
  information: Mapping[str, chex.Array]


class Weights(NamedTuple):
  """The weights of a training set, and what they were computed from.

  Attributes:
    average: the moving average.
    information: measure -> `[M]` of the latest refresh.
    examples: `[N, 1]` how much each counts in the loss, 1 on average; None
      where all count the same.
  """

  average: weighting.WeightState
  information: Mapping[str, chex.Array]
  examples: chex.Array | None


class Refreshed(NamedTuple):
  """What a refresh computes.

  Attributes:
    table: `[N, M]` weights of the training examples.
    information: measure -> `[M]`.
    examples: `[N, 1]` how much each counts, or None.
  """

  table: chex.Array
  information: Mapping[str, chex.Array]
  examples: chex.Array | None


class Best(NamedTuple):
  """The best epoch so far by validation loss, per model trained together.

  Attributes:
    loss: `[U]`.
    epoch: `[U]`.
    params: parameters after that epoch.
    guide: how unseen examples were weighed then; None if they are not.
  """

  loss: chex.Array
  epoch: chex.Array
  params: chex.ArrayTree
  guide: UnseenPrior | None


class RunState(NamedTuple):
  """One run.

  Attributes:
    train: what a step changes.
    weights: what a refresh changes; None where nothing is weighted.
    best: what is kept.
  """

  train: TrainState
  weights: Weights | None
  best: Best
