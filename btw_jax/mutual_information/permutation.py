"""Whether information is more than chance would give."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class PermutationTest(NamedTuple):
  """An estimate beside what it is when the pairs are broken.

  Attributes:
    value: scalar, the estimate.
    null_mean: scalar, its mean over permutations.
    null_std: scalar, its standard deviation over permutations.
    p_value: scalar, `(1 + #{null ≥ value}) / (1 + permutations)`.
  """

  value: chex.Array
  null_mean: chex.Array
  null_std: chex.Array
  p_value: chex.Array


def permutation_test(
  estimator: Callable[[chex.ArrayTree, chex.ArrayTree], chex.Array],
  key: chex.PRNGKey,
  x: chex.ArrayTree,
  y: chex.ArrayTree,
  num_permutations: int,
  *,
  where: chex.Array | None = None,
) -> PermutationTest:
  """Compares an estimate with its null distribution under shuffling.

  A permutation of y keeps both margins and breaks the dependence. The p-value
  counts the estimate itself, hence is never 0 and at most the level in
  expectation: Phipson & Smyth (2010), "Permutation p-values should never be
  zero".

  All permutations are mapped by `vmap`: memory is theirs times the
  estimator's.

  Args:
    estimator: `(x, y) -> scalar`; where `where` is given,
      `(x, y, where=where) -> scalar`.
    key: seeds the permutations.
    x: array, or pytree such as a prediction, with leading axis N.
    y: likewise, row by row.
    num_permutations: static, from 1.
    where: `[N]` bool, the samples that count and are shuffled among
      themselves; all by default.

  Returns:
    The test; p-value at least `1 / (1 + num_permutations)`.

  Raises:
    ValueError: if `num_permutations` is below 1.
  """
  if num_permutations < 1:
    raise ValueError(f"num_permutations={num_permutations}: give 1 or more.")
  measure = estimator
  if where is not None:
    measure = lambda x, y: estimator(x, y, where=where)  # noqa: E731
  x, y = jax.tree.map(jnp.asarray, (x, y))
  n = jax.tree.leaves(y)[0].shape[0]

  def of_shuffled(key):
    order = _shuffle(key, n, where)
    return measure(x, jax.tree.map(lambda v: v[order], y))

  value = measure(x, y)
  null = jax.vmap(of_shuffled)(jax.random.split(key, num_permutations))
  beyond = jnp.sum(null >= value)
  return PermutationTest(
    value,
    jnp.mean(null),
    jnp.std(null),
    (1 + beyond) / (1 + num_permutations),
  )


def _shuffle(key, n, where):
  """A random order that moves counted samples among their own places."""
  if where is None:
    return jax.random.permutation(key, n)
  # Counted ones first: in their own order, and in a random one.
  places = jnp.argsort(~where)
  shuffled = jnp.argsort(jnp.where(where, jax.random.uniform(key, (n,)), 2.0))
  return jnp.zeros(n, shuffled.dtype).at[places].set(shuffled)
