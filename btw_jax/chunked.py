"""Functions of a large set, computed a part of it at a time.

What a function holds of every example then takes memory for a part alone. A set
that is one part is given to the function as it is.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

# Examples of a part, at most, where they are small: a row of weights.
CHUNK_SIZE = 2**18


def map_chunks(
  function: Callable[[chex.ArrayTree], chex.ArrayTree],
  examples: chex.ArrayTree,
  chunk_size: int | None = None,
  *,
  axes: Any = 0,
) -> chex.ArrayTree:
  """`function` of parts of equal size, one after the other.

  Args:
    function: of a pytree like `examples` with n of them, returning a pytree of
      `[n, ...]`.
    examples: pytree of arrays with N examples each.
    chunk_size: the largest n, static, `CHUNK_SIZE` by default; bounds the memory that
      `function` takes.
    axes: of examples, for all arrays or as a prefix of the pytree.

  Returns:
    Pytree of `[N, ...]`.
  """
  axes = jax.tree.broadcast(axes, examples)
  num_examples, num_parts, size = _sizes(examples, axes, chunk_size)
  if num_parts <= 1:
    return function(examples)

  def body(number, found):
    # The last part begins early enough to be as large as the others.
    start = jnp.minimum(number * size, num_examples - size)
    return jax.tree.map(
      lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, start, 0),
      found,
      function(_part(examples, axes, start, size)),
    )

  like = jax.eval_shape(lambda: function(_part(examples, axes, 0, size)))
  empty = jax.tree.map(
    lambda x: jnp.zeros((num_examples, *x.shape[1:]), x.dtype), like
  )
  return jax.lax.fori_loop(0, num_parts, body, empty)


def sum_chunks(
  function: Callable[[chex.ArrayTree, chex.Array], chex.ArrayTree],
  examples: chex.ArrayTree,
  chunk_size: int | None = None,
) -> chex.ArrayTree:
  """Sums over a set, a part of it at a time.

  Args:
    function: of a pytree like `examples` with n of them and `[n]` bool, those
      that count, returning a pytree of sums over these.
    examples: pytree of `[N, ...]`.
    chunk_size: the largest n, static, `CHUNK_SIZE` by default.

  Returns:
    A pytree of sums over all.
  """
  axes = jax.tree.map(lambda _: 0, examples)
  num_examples, num_parts, size = _sizes(examples, axes, chunk_size)
  if num_parts <= 1:
    return function(examples, jnp.ones(num_examples, bool))

  def of_part(number):
    # The last begins early enough to be as large, and counts what is new.
    start = jnp.minimum(number * size, num_examples - size)
    new = start + jnp.arange(size) >= number * size
    return function(_part(examples, axes, start, size), new)

  def add(so_far, number):
    return jax.tree.map(jnp.add, so_far, of_part(number)), None

  return jax.lax.scan(add, of_part(0), jnp.arange(1, num_parts))[0]


def _sizes(examples, axes, chunk_size):
  leaf, axis = jax.tree.leaves(examples)[0], jax.tree.leaves(axes)[0]
  num_examples = leaf.shape[axis]
  num_parts = -(-num_examples // (chunk_size or CHUNK_SIZE))
  return num_examples, num_parts, -(-num_examples // max(num_parts, 1))


def _part(examples, axes, start, size):
  return jax.tree.map(
    lambda x, axis: jax.lax.dynamic_slice_in_dim(x, start, size, axis),
    examples,
    axes,
  )
