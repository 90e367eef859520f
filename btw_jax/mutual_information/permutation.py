"""A permutation test of mutual information against chance."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class PermutationTest(NamedTuple):
  """The result of a permutation test.

  Attributes:
    value: `[...]` the estimate, usually a scalar.
    null_mean: `[...]` the mean estimate over permutations.
    null_std: `[...]` the standard deviation over permutations.
    p_value: `[...]`, `(1 + #{null ≥ value}) / (1 + permutations)`.
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
  batch_size: int | None = None,
) -> PermutationTest:
  """Compares an estimate with its null distribution under permutations of y.

  A permutation of y keeps both margins and breaks the dependence. The p-value
  counts the estimate itself, so it is never 0 and the test keeps its level:
  Phipson & Smyth (2010), "Permutation p-values should never be zero".

  Samples are converted to JAX's dtype as they are, because an estimator may
  read them as probabilities: centre float64 samples with a large mean first.

  The permutations are mapped by `vmap`, so memory grows with their number, or
  with `batch_size`.

  Args:
    estimator: `(x, y) -> [...]`, one estimate or several that share the
      permutations; called with `where=where` if that is given.
    key: random key for the permutations.
    x: array, or pytree such as a prediction, with leading axis N.
    y: array or pytree with leading axis N, paired with `x`.
    num_permutations: number of permutations, static, at least 1.
    where: `[N]` bool, the samples that count, and are permuted among
      themselves; all by default.
    batch_size: number of permutations at once, static; all by default.

  Returns:
    The test; its p-value is at least `1 / (1 + num_permutations)`.

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

  def measure_shuffled(key):
    order = _shuffle(key, n, where)
    return measure(x, jax.tree.map(lambda v: v[order], y))

  value = measure(x, y)
  keys = jax.random.split(key, num_permutations)
  null = jax.lax.map(
    measure_shuffled, keys, batch_size=batch_size or num_permutations
  )
  num_exceeding = jnp.sum(null >= value, axis=0)
  return PermutationTest(
    value,
    jnp.mean(null, axis=0),
    jnp.std(null, axis=0),
    (1 + num_exceeding) / (1 + num_permutations),
  )


def _shuffle(key, n, where):
  """Returns a random order that moves only the samples that count."""
  if where is None:
    # One sort; `jax.random.permutation` sorts three times for large n.
    return jnp.argsort(jax.random.bits(key, (n,)))
  # Both orders list the counted samples first: one as they are, one at random.
  places = jnp.argsort(~where)
  shuffled = jnp.argsort(jnp.where(where, jax.random.uniform(key, (n,)), 2.0))
  return jnp.zeros(n, shuffled.dtype).at[places].set(shuffled)
