"""Sums that round little, and bounds of what information loses by rounding.

Bounds are of first order in `u`, half the resolution ε of the dtype. A value
that takes part in D additions has a relative error of at most `D u`, if no term
is negative. Logarithms and exponentials are taken to be correct to 2 units in
the last place, `4u`.
"""

from collections.abc import Sequence
import functools
import math

import chex
import jax
import jax.numpy as jnp

# Relative errors of a cell before it is summed, in u: conversion to the dtype,
# division by the total, division by P(y) and one product.
CELL = 4
# The number of values that are added up in one sum.
_BLOCK = 4


def num_additions(*sizes: int) -> int:
  """Returns the largest number of additions of a value in `blocked_sum`."""
  return sum(block - 1 for size in sizes for block in _blocks(size))


def blocked_sum(x: chex.Array, axes: Sequence[int]) -> chex.Array:
  """Sums over axes in blocks of a few values, then sums these sums likewise.

  The error grows with log N. A plain sum may add one cell after the other: its
  error grows with N, and is 3e-5 nats for the information of 1,800 cells.

  Args:
    x: array.
    axes: axes to sum over.

  Returns:
    The sums, without these axes.
  """
  axes = sorted(axis % x.ndim for axis in axes)
  return functools.reduce(_sum_axis, reversed(axes), x)


def _sum_axis(x, axis):
  x = jnp.moveaxis(x, axis, 0)
  for block in _blocks(len(x)):
    padding = -len(x) % block
    x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) if padding else x
    x = jnp.sum(x.reshape(block, -1, *x.shape[1:]), axis=0)
    # Without the barrier, a compiler may merge all sums into a plain one.
    x = jax.lax.optimization_barrier(x) if len(x) > 1 else x
  return x[0]


def _blocks(size):
  """Returns the sizes of the blocks of an axis, of their sums, and so on."""
  blocks = []
  while size > 1:
    blocks.append(min(size, _BLOCK))
    size = -(-size // blocks[-1])
  return blocks


def information_error(
  information: chex.Array, mass: chex.Array, shape: Sequence[int]
) -> chex.Array:
  """Bounds the error of an information that is computed from a joint.

  With `I = Σ p log(p / r) + r − p`, r the product of the margins:

  - The cells p err by `(D + CELL) u`, which changes I by as much times
    `Σ p |log(p / r)|`. This is at most I + 1, because `p log(r / p) <= r / e`.
    Errors of the margins are of second order.
  - The logarithms err by `4u` times `Σ p (|log p| + |log r|)`. The first part
    is an entropy, the second one the sum of two, each at most log n.
  - No term is negative, so their sum errs by `D u I`. Differences r − p add up
    to at most 2.

  Together these are less than `2u ((D + CELL) (I + 1) + 4 (log n + 1))`.

  Args:
    information: `[...]` nats.
    mass: `[...]` sum of the joint: 1, or 0 for a joint of zeros.
    shape: sizes of all axes of the joint before it was summed to a table.

  Returns:
    `[...]` nats.
  """
  errors = (num_additions(*shape) + CELL) * (
    jnp.maximum(information, 0.0) + mass
  )
  return _eps(errors) * (errors + 4 * mass * (math.log(math.prod(shape)) + 1))


def _eps(x):
  return jnp.finfo(x.dtype).eps
