"""Shapley values: the mean gain of a modality over all orders of adding it.

The value of a set of modalities is any number that they reach together. The
Shapley value of a modality is its mean gain when the modalities are added one
after another, over all orders. The values add up to the value of all modalities
minus that of none.

Shapley (1953), "A value for n-person games".
"""

import math
from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

# The largest number of modalities whose subsets are all evaluated.
MAX_EXACT = 8


class Plan(NamedTuple):
  """The sets of modalities to evaluate, and how values follow from them.

  Attributes:
    kept: `[C, M]` bool, the modalities of each set. The first set has none, the
      last one all.
    weights: `[M, C]`: the Shapley values are `weights @ values`.
  """

  kept: np.ndarray
  weights: np.ndarray


def plan(
  num_modalities: int,
  *,
  num_permutations: int = 64,
  max_exact: int = MAX_EXACT,
  seed: int = 0,
) -> Plan:
  """Plans the sets of modalities to evaluate.

  Args:
    num_modalities: M.
    num_permutations: number of orders to sample for more modalities. Each is
      used forwards and backwards, which lowers the variance.
    max_exact: up to so many modalities all 2^M sets are planned, which makes
      the values exact.
    seed: seed of the orders.

  Returns:
    The plan.
  """
  if num_modalities <= max_exact:
    return _all_subsets(num_modalities)
  rng = np.random.default_rng(seed)
  orders = [rng.permutation(num_modalities) for _ in range(num_permutations)]
  orders += [order[::-1] for order in orders]
  gains = {}
  for order in orders:
    for size, m in enumerate(order):
      before = frozenset(order[:size].tolist())
      for kept, sign in ((before, -1), (before | {int(m)}, 1)):
        gains.setdefault(kept, np.zeros(num_modalities))[m] += sign
  sets = sorted(gains, key=len)
  kept = np.array([[m in s for m in range(num_modalities)] for s in sets])
  weights = np.stack([gains[s] for s in sets], axis=1) / len(orders)
  return Plan(kept, weights)


def _all_subsets(num_modalities):
  numbers = np.arange(2**num_modalities)
  kept = (numbers[:, None] >> np.arange(num_modalities)) % 2 == 1
  size = kept.sum(axis=1)
  orders = [
    math.factorial(s) * math.factorial(num_modalities - s - 1)
    for s in range(num_modalities)
  ]
  # A set with m gains from the set without it, which has one modality less.
  share = np.array([*orders, 0]) / math.factorial(num_modalities)
  weights = np.where(kept, share[size[:, None] - 1], -share[size[:, None]])
  return Plan(kept, weights.T)


def values(plan: Plan, of_sets: chex.Array) -> chex.Array:
  """Computes Shapley values `[M, ...]` from the values `[C, ...]` of sets."""
  return jnp.tensordot(plan.weights, of_sets, axes=1)
