"""Applies functions to large sets in chunks, to bound their memory.

Intermediate arrays then have the size of a chunk, not of the set. A set that
fits into one chunk is passed to the function unchanged.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

# The default chunk size, for small examples such as rows of weights.
CHUNK_SIZE = 2**18


def map_chunks(
  function: Callable[[chex.ArrayTree], chex.ArrayTree],
  examples: chex.ArrayTree,
  chunk_size: int | None = None,
  *,
  axes: Any = 0,
) -> chex.ArrayTree:
  """Applies a function to chunks of equal size, one after the other.

  Args:
    function: maps a pytree like `examples` with n examples to a pytree of
      `[n, ...]`; row i of its result must depend on example i only.
    examples: pytree of arrays with N examples each.
    chunk_size: the largest n, static; `CHUNK_SIZE` by default.
    axes: the axis of examples, for all arrays or as a prefix of the pytree.

  Returns:
    Pytree of `[N, ...]`.
  """
  axes = jax.tree.broadcast(axes, examples)
  num_examples, num_chunks, size = _sizes(examples, axes, chunk_size)
  if num_chunks <= 1:
    return function(examples)

  def write_chunk(number, results):
    # All chunks need the same static size, so the last one overlaps the one
    # before it and writes the shared rows again.
    start = jnp.minimum(number * size, num_examples - size)
    return jax.tree.map(
      lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, start, 0),
      results,
      function(_slice(examples, axes, start, size)),
    )

  like = jax.eval_shape(lambda: function(_slice(examples, axes, 0, size)))
  empty = jax.tree.map(
    lambda x: jnp.zeros((num_examples, *x.shape[1:]), x.dtype), like
  )
  return jax.lax.fori_loop(0, num_chunks, write_chunk, empty)


def sum_chunks(
  function: Callable[[chex.ArrayTree, chex.Array], chex.ArrayTree],
  examples: chex.ArrayTree,
  chunk_size: int | None = None,
) -> chex.ArrayTree:
  """Adds up the sums that a function returns for each chunk.

  Args:
    function: maps a pytree like `examples` with n examples and an `[n]` bool
      mask to a pytree of sums over the examples where the mask is True.
    examples: pytree of `[N, ...]`.
    chunk_size: the largest n, static; `CHUNK_SIZE` by default.

  Returns:
    A pytree of sums over all N examples.
  """
  axes = jax.tree.map(lambda _: 0, examples)
  num_examples, num_chunks, size = _sizes(examples, axes, chunk_size)
  if num_chunks <= 1:
    return function(examples, jnp.ones(num_examples, bool))

  def sum_chunk(number):
    # The last chunk overlaps the one before it: the mask leaves out the rows
    # that are counted already.
    start = jnp.minimum(number * size, num_examples - size)
    mask = start + jnp.arange(size) >= number * size
    return function(_slice(examples, axes, start, size), mask)

  def add(sums, number):
    return jax.tree.map(jnp.add, sums, sum_chunk(number)), None

  return jax.lax.scan(add, sum_chunk(0), jnp.arange(1, num_chunks))[0]


def _sizes(examples, axes, chunk_size):
  """Returns the numbers of examples, of chunks, and of examples per chunk."""
  leaf, axis = jax.tree.leaves(examples)[0], jax.tree.leaves(axes)[0]
  num_examples = leaf.shape[axis]
  num_chunks = -(-num_examples // (chunk_size or CHUNK_SIZE))
  return num_examples, num_chunks, -(-num_examples // max(num_chunks, 1))


def _slice(examples, axes, start, size):
  return jax.tree.map(
    lambda x, axis: jax.lax.dynamic_slice_in_dim(x, start, size, axis),
    examples,
    axes,
  )
