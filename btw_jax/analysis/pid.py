"""Partial Information Decomposition of two sources about a target.

What X1 and X2 tell about Y is split into what either tells (redundant), what
one alone tells (unique), and what only both together tell (synergistic):

  I(Y; X1) = R + U1    I(Y; X2) = R + U2    I(Y; X1 X2) = R + U1 + U2 + S

Williams & Beer (2010), "Nonnegative decomposition of multivariate information",
arXiv 1004.2515. The equations leave one thing open; the functions here differ
in how they settle it. Everything is in nats.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.analysis import broja as broja_lib
from btw_jax.mutual_information import discrete


class Decomposition(NamedTuple):
  """Atoms of information, `[...]` nats each.

  Attributes:
    redundant: R, what either source tells.
    unique1: U1, what the first alone tells.
    unique2: U2, what the second alone tells.
    synergistic: S, what only both tell.
    gap: how far an atom can be from its exact value, 0 for a closed form.
  """

  redundant: chex.Array
  unique1: chex.Array
  unique2: chex.Array
  synergistic: chex.Array
  gap: chex.Array


class Pointwise(NamedTuple):
  """Atoms of every outcome, `[..., X1, X2, Y]` nats each, of any sign.

  They sum to `log P(x1, x2, y) / (P(x1, x2) P(y))`, and their means under P are
  the atoms. All are 0 where P is.
  """

  redundant: chex.Array
  unique1: chex.Array
  unique2: chex.Array
  synergistic: chex.Array


def broja(
  joint: chex.Array, *, num_iterations: int = 200, tolerance: float = 1e-6
) -> Decomposition:
  """Unique information is what no joint with the same pairs can do without.

  With `I* = min I_Q(Y; X1 X2)` over all Q that have P's (x1, y) and (x2, y):
  `R = I1 + I2 - I*`, `U1 = I* - I2`, `U2 = I* - I1`, `S = I_P - I*`.
  Bertschinger et al. (2014), "Quantifying unique information", definition 1.
  See `btw_jax.analysis.broja` for the solver.

  Gradients are those of the optimum, `dI* = <dP, a + b>` with the potentials
  that prove it, at the accuracy of the gap.

  Args:
    joint: `[..., X1, X2, Y]`, not negative: probabilities, or counts, each
      table divided by its sum here.
    num_iterations: steps of the solver, at most.
    tolerance: gap in nats that is good enough.

  Returns:
    A `Decomposition`. Its I* is reached by a Q, hence too large by `gap` at
    most: U1, U2 are too large by that, R and S too small, and none is clipped.

  Raises:
    ValueError: if there are no three axes.
  """
  joint = _checked(joint, 3)
  information, gap = _least(joint, num_iterations, tolerance)
  return _decompose(joint, sum(_each(joint)) - information, gap)


def sensory(
  joint: chex.Array, *, num_iterations: int = 200, tolerance: float = 1e-6
) -> Decomposition:
  """What V and A tell beyond a control: `broja` of each P(v, a, y | l).

  Args:
    joint: `[..., L, V, A, Y]`, not negative, the control first.
    num_iterations: steps of the solver for each value of the control, at most.
    tolerance: gap in nats that is good enough.

  Returns:
    Means of the atoms over the control: U1 is that of V, U2 that of A.

  Raises:
    ValueError: if there are no four axes.
  """
  each = broja(
    _checked(joint, 4), num_iterations=num_iterations, tolerance=tolerance
  )
  (joint,) = types.as_float(joint)
  share = jnp.sum(joint, axis=(-3, -2, -1))
  share = share / _positive(jnp.sum(share, axis=-1, keepdims=True))
  return jax.tree.map(lambda atom: jnp.sum(share * atom, axis=-1), each)


def minimum_information(joint: chex.Array) -> Decomposition:
  """Redundant is what the source that tells less tells: `min(I1, I2)`.

  I_MMI, exact for Gaussians of one target variable. Barrett (2015),
  "Exploration of synergistic and redundant information sharing in static and
  dynamical Gaussian systems", section III.

  Args:
    joint: `[..., X1, X2, Y]`, as `broja` takes it.

  Returns:
    A `Decomposition`; U1 or U2 is 0.

  Raises:
    ValueError: if there are no three axes.
  """
  joint = _checked(joint, 3)
  redundant = jnp.minimum(*_each(joint))
  return _decompose(joint, redundant, jnp.zeros_like(redundant))


def specific_information(joint: chex.Array) -> Decomposition:
  """Redundant is what either tells about each outcome, the lesser of both.

  I_min: `Σ_y p(y) min_k Σ_x P(x_k | y) log(P(x_k | y) / P(x_k))`. Williams &
  Beer (2010), arXiv 1004.2515, eq. 3.

  Args:
    joint: `[..., X1, X2, Y]`, as `broja` takes it.

  Returns:
    A `Decomposition`.

  Raises:
    ValueError: if there are no three axes.
  """
  joint = _checked(joint, 3)
  p_y = jnp.sum(joint, axis=(-3, -2))

  def specific(pair):
    source = jnp.sum(pair, axis=-1, keepdims=True)
    terms = pair * _log_ratio(pair, source * p_y[..., None, :])
    return jnp.sum(terms, axis=-2)

  least = jnp.minimum(*(specific(pair) for pair in _pairs(joint)))
  redundant = jnp.sum(least, axis=-1)
  return _decompose(joint, redundant, jnp.zeros_like(redundant))


def pointwise(
  joint: chex.Array, *, num_iterations: int = 200, tolerance: float = 1e-6
) -> Pointwise:
  """The share of every outcome in the atoms of `broja`.

  With `i* = a(x1, y) + b(x2, y)`, the optimal potentials, in place of I*, and
  `i1 = log P(x1, y) / (P(x1) P(y))`, i2 and i alike: `r = i1 + i2 - i*`,
  `u1 = i* - i2`, `u2 = i* - i1`, `s = i - i*`.

  Args:
    joint: `[..., X1, X2, Y]`, as `broja` takes it.
    num_iterations: steps of the solver, at most.
    tolerance: gap in nats that is good enough.

  Returns:
    A `Pointwise`.

  Raises:
    ValueError: if there are no three axes.
  """
  joint = _checked(joint, 3)
  solution = _solve(joint, num_iterations, tolerance)
  least = _expand(*solution.potentials)
  # Potentials are free up to a constant: the one that gives their mean I*.
  mean = jnp.sum(joint * least, axis=(-3, -2, -1))
  least += (solution.information - mean)[..., None, None, None]
  p_y = jnp.sum(joint, axis=(-3, -2))
  one, two = (
    _log_ratio(pair, jnp.sum(pair, axis=-1, keepdims=True) * p_y[..., None, :])
    for pair in _pairs(joint)
  )
  one, two = one[..., :, None, :], two[..., None, :, :]
  both = _log_ratio(
    joint, jnp.sum(joint, -1, keepdims=True) * p_y[..., None, None, :]
  )
  atoms = Pointwise(one + two - least, least - two, least - one, both - least)
  return jax.tree.map(lambda atom: jnp.where(joint > 0, atom, 0.0), atoms)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _least(joint, num_iterations, tolerance):
  """I* and its gap."""
  solution = _solve(joint, num_iterations, tolerance)
  return solution.information, solution.gap


def _least_forward(joint, num_iterations, tolerance):
  solution = _solve(joint, num_iterations, tolerance)
  slope = _expand(*solution.potentials)
  return (solution.information, solution.gap), slope


def _least_backward(num_iterations, tolerance, slope, cotangents):
  del num_iterations, tolerance
  # What the gap is, is not known so well.
  return (cotangents[0][..., None, None, None] * slope,)


_least.defvjp(_least_forward, _least_backward)


def _solve(joint, num_iterations, tolerance):
  joint = jax.lax.stop_gradient(joint)
  tables = jnp.moveaxis(joint, -1, -3)
  solved = jax.vmap(
    lambda table: broja_lib.solve(table, num_iterations, tolerance)
  )(tables.reshape(-1, *tables.shape[-3:]))
  return jax.tree.map(
    lambda x: x.reshape(*joint.shape[:-3], *x.shape[1:]), solved
  )


def _decompose(joint, redundant, gap):
  one, two = _each(joint)
  union = one + two - redundant
  return Decomposition(
    redundant, union - two, union - one, _information(joint) - union, gap
  )


def _each(joint):
  """I1 and I2."""
  return [discrete.from_joint(pair) for pair in _pairs(joint)]


def _pairs(joint):
  """P(x1, y) and P(x2, y)."""
  return jnp.sum(joint, axis=-2), jnp.sum(joint, axis=-3)


def _information(joint):
  """Of both sources."""
  return discrete.from_joint(
    joint.reshape(*joint.shape[:-3], -1, joint.shape[-1])
  )


def _expand(first, second):
  """Of each outcome, from `[..., Y, X1]` and `[..., Y, X2]`."""
  both = first[..., :, :, None] + second[..., :, None, :]
  return jnp.moveaxis(both, -3, -1)


def _log_ratio(p, q):
  """log(p / q), 0 where p is 0."""
  return jnp.where(p > 0, jnp.log(_positive(p)) - jnp.log(_positive(q)), 0.0)


def _positive(x):
  return jnp.where(x > 0, x, 1.0)


def _checked(joint, num_axes):
  """In floating point, each table summing to 1."""
  (joint,) = types.as_float(joint)
  if joint.ndim < num_axes:
    axes = "[..., L, V, A, Y]" if num_axes == 4 else "[..., X1, X2, Y]"
    raise ValueError(f"joint has shape {joint.shape}: give {axes}.")
  total = jnp.sum(joint, axis=(-3, -2, -1), keepdims=True)
  return joint / _positive(total)
