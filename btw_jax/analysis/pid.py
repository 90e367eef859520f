"""Partial information decomposition (PID) of two sources about a target.

The information of X1 and X2 about Y is split into atoms: information that is in
either source (redundant), in only one of them (unique), and only in both
together (synergistic):

  I(Y; X1) = R + U1    I(Y; X2) = R + U2    I(Y; X1 X2) = R + U1 + U2 + S

Williams & Beer (2010), "Nonnegative decomposition of multivariate information",
arXiv 1004.2515. These are three equations for four atoms. The functions differ
in the fourth one, which defines one of the atoms. All values are in nats.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.analysis import broja as broja_lib
from btw_jax.analysis import rounding
from btw_jax.mutual_information import discrete


class Decomposition(NamedTuple):
  """The atoms of information, `[...]` nats each.

  Attributes:
    redundant: R, information in either source.
    unique1: U1, information in the first source only.
    unique2: U2, information in the second source only.
    synergistic: S, information only in both sources together.
    gap: largest error of an atom, not negative; 0 for a closed form, whose
      error is rounding alone.
  """

  redundant: chex.Array
  unique1: chex.Array
  unique2: chex.Array
  synergistic: chex.Array
  gap: chex.Array


class Pointwise(NamedTuple):
  """The atoms of every outcome, `[..., X1, X2, Y]` nats each, of any sign.

  They sum to `log P(x1, x2, y) / (P(x1, x2) P(y))`, and their means under P are
  the atoms of `Decomposition`. They are 0 where P is 0.
  """

  redundant: chex.Array
  unique1: chex.Array
  unique2: chex.Array
  synergistic: chex.Array


class _Information(NamedTuple):
  """The information about the target, `[...]` nats.

  Attributes:
    first: I1, of the first source.
    second: I2, of the second source.
    both: I, of both together.
  """

  first: chex.Array
  second: chex.Array
  both: chex.Array


def broja(
  joint: chex.Array, *, num_iterations: int = 200, tolerance: float = 1e-6
) -> Decomposition:
  """Decomposes by the least information among joints with the same pairs.

  With `I* = min I_Q(Y; X1 X2)` over all Q with P's (x1, y) and (x2, y):
  `R = I1 + I2 - I*`, `U1 = I* - I2`, `U2 = I* - I1`, `S = I_P - I*`.
  Bertschinger et al. (2014), "Quantifying unique information", definition 1.
  See `btw_jax.analysis.broja` for the solver.

  Gradients are those of the optimum: `dI* = <dP, a + b>` with the potentials a
  and b that prove the bound, up to the error `gap`.

  Args:
    joint: `[..., X1, X2, Y]`, not negative: probabilities or counts. Each
      table is divided by its sum.
    num_iterations: largest number of solver steps.
    tolerance: gap in nats at which the solver stops.

  Returns:
    A `Decomposition`. I* is the information of a feasible Q, so it is too large
    by at most `gap`: U1 and U2 are then too large, R and S too small. No atom
    is clipped. `gap` includes a bound of all rounding, that of the joint to the
    dtype too: in float32 it is about 1e-5 nats at least.

  Raises:
    ValueError: if `joint` has fewer than three axes.
  """
  joint = _normalise(joint, 3)
  least, gap = _least_information(joint, num_iterations, tolerance)
  known = _information(joint)
  gap += _rounding_error(joint, known)
  return _decompose(known, known.first + known.second - least, gap)


def sensory(
  joint: chex.Array, *, num_iterations: int = 200, tolerance: float = 1e-6
) -> Decomposition:
  """Decomposes the information of V and A given a control L.

  It applies `broja` to each P(v, a, y | l) and averages the atoms over l.

  Args:
    joint: `[..., L, V, A, Y]`, not negative, the control first.
    num_iterations: largest number of solver steps per value of the control.
    tolerance: gap in nats at which the solver stops.

  Returns:
    A `Decomposition`: U1 belongs to V, U2 to A.

  Raises:
    ValueError: if `joint` has fewer than four axes.
  """
  conditional = broja(
    _normalise(joint, 4), num_iterations=num_iterations, tolerance=tolerance
  )
  (joint,) = types.as_float(joint)
  p_l = rounding.blocked_sum(joint, (-3, -2, -1))
  p_l = p_l / _replace_zeros(rounding.blocked_sum(p_l, (-1,)))[..., None]

  def mean(atom):
    return rounding.blocked_sum(p_l * atom, (-1,))

  # P(l) and the sum err by as many u as they have additions, twice.
  num_errors = 2 * (rounding.num_additions(*joint.shape[-4:]) + rounding.CELL)
  largest = functools.reduce(jnp.maximum, map(jnp.abs, conditional))
  error = jnp.finfo(joint.dtype).eps * num_errors * mean(largest)
  means = jax.tree.map(mean, conditional)
  return means._replace(gap=means.gap + jax.lax.stop_gradient(error))


def minimum_information(joint: chex.Array) -> Decomposition:
  """Decomposes with the redundant information `min(I1, I2)`.

  It is I_MMI, exact for Gaussians with one target variable. Barrett (2015),
  "Exploration of synergistic and redundant information sharing in static and
  dynamical Gaussian systems", section III.

  Args:
    joint: `[..., X1, X2, Y]`, as for `broja`.

  Returns:
    A `Decomposition`; U1 or U2 is 0.

  Raises:
    ValueError: if `joint` has fewer than three axes.
  """
  joint = _normalise(joint, 3)
  known = _information(joint)
  redundant = jnp.minimum(known.first, known.second)
  return _decompose(known, redundant, jnp.zeros_like(redundant))


def specific_information(joint: chex.Array) -> Decomposition:
  """Decomposes with the least information about each outcome as redundant.

  It is I_min: `Σ_y p(y) min_k Σ_x P(x_k | y) log(P(x_k | y) / P(x_k))`.
  Williams & Beer (2010), arXiv 1004.2515, eq. 3.

  Args:
    joint: `[..., X1, X2, Y]`, as for `broja`.

  Returns:
    A `Decomposition`.

  Raises:
    ValueError: if `joint` has fewer than three axes.
  """
  joint = _normalise(joint, 3)
  p_y = jnp.sum(joint, axis=(-3, -2))

  def specific(pair):
    source = jnp.sum(pair, axis=-1, keepdims=True)
    terms = pair * _log_ratio(pair, source * p_y[..., None, :])
    return jnp.sum(terms, axis=-2)

  least = jnp.minimum(*(specific(pair) for pair in _pairs(joint)))
  redundant = jnp.sum(least, axis=-1)
  return _decompose(_information(joint), redundant, jnp.zeros_like(redundant))


def pointwise(
  joint: chex.Array, *, num_iterations: int = 200, tolerance: float = 1e-6
) -> Pointwise:
  """Computes the contribution of every outcome to the atoms of `broja`.

  With the optimal potentials `i* = a(x1, y) + b(x2, y)` in place of I*, and
  `i1 = log P(x1, y) / (P(x1) P(y))`, similarly i2 for x2 and i for both:
  `r = i1 + i2 - i*`, `u1 = i* - i2`, `u2 = i* - i1`, `s = i - i*`.

  Args:
    joint: `[..., X1, X2, Y]`, as for `broja`.
    num_iterations: largest number of solver steps.
    tolerance: gap in nats at which the solver stops.

  Returns:
    A `Pointwise`.

  Raises:
    ValueError: if `joint` has fewer than three axes.
  """
  joint = _normalise(joint, 3)
  solution = _solve(joint, num_iterations, tolerance)
  least = _expand(*solution.potentials)
  # Potentials are unique up to a constant, chosen so that their mean is I*.
  mean = jnp.sum(joint * least, axis=(-3, -2, -1))
  least += (solution.information - mean)[..., None, None, None]
  p_y = jnp.sum(joint, axis=(-3, -2))
  first, second = (
    _log_ratio(pair, jnp.sum(pair, axis=-1, keepdims=True) * p_y[..., None, :])
    for pair in _pairs(joint)
  )
  first, second = first[..., :, None, :], second[..., None, :, :]
  both = _log_ratio(
    joint, jnp.sum(joint, -1, keepdims=True) * p_y[..., None, None, :]
  )
  atoms = Pointwise(
    first + second - least, least - second, least - first, both - least
  )
  return jax.tree.map(lambda atom: jnp.where(joint > 0, atom, 0.0), atoms)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _least_information(joint, num_iterations, tolerance):
  """Returns I* and its gap."""
  solution = _solve(joint, num_iterations, tolerance)
  return solution.information, solution.gap


def _least_information_fwd(joint, num_iterations, tolerance):
  solution = _solve(joint, num_iterations, tolerance)
  slope = _expand(*solution.potentials)
  return (solution.information, solution.gap), slope


def _least_information_bwd(num_iterations, tolerance, slope, cotangents):
  del num_iterations, tolerance
  # The gap has no useful gradient: it depends on where the solver stops.
  return (cotangents[0][..., None, None, None] * slope,)


_least_information.defvjp(_least_information_fwd, _least_information_bwd)


def _solve(joint, num_iterations, tolerance):
  """Solves for each table of `[..., X1, X2, Y]`."""
  joint = jax.lax.stop_gradient(joint)
  tables = jnp.moveaxis(joint, -1, -3)
  solved = jax.vmap(
    lambda table: broja_lib.solve(
      broja_lib.Margins.from_joint(table), num_iterations, tolerance
    )
  )(tables.reshape(-1, *tables.shape[-3:]))
  return jax.tree.map(
    lambda x: x.reshape(*joint.shape[:-3], *x.shape[1:]), solved
  )


def _rounding_error(joint, known):
  """Bounds the rounding of I1, I2, I and of the differences between them."""
  mass = rounding.blocked_sum(joint, (-3, -2, -1))
  errors = sum(
    rounding.information_error(information, mass, joint.shape[-3:])
    for information in known
  )
  additions = 2 * jnp.finfo(joint.dtype).eps * sum(known)
  return jax.lax.stop_gradient(errors + additions)


def _decompose(known, redundant, gap):
  """Computes all atoms from the redundant one."""
  first, second, both = known
  union = first + second - redundant
  return Decomposition(
    redundant, union - second, union - first, both - union, gap
  )


def _information(joint):
  """Returns the information of each source, and of both."""
  both = joint.reshape(*joint.shape[:-3], -1, joint.shape[-1])
  return _Information(
    *(_table_information(table) for table in (*_pairs(joint), both))
  )


def _pairs(joint):
  """Returns P(x1, y) and P(x2, y)."""
  return [rounding.blocked_sum(joint, (axis,)) for axis in (-2, -3)]


def _table_information(table):
  """Returns the information of a table `[..., X, Y]`."""
  margins = [rounding.blocked_sum(table, (axis,)) for axis in (-1, -2)]
  margins = margins[0][..., None], margins[1][..., None, :]
  return rounding.blocked_sum(discrete.terms(table, margins), (-2, -1))


def _expand(first, second):
  """Adds `[..., Y, X1]` and `[..., Y, X2]` to `[..., X1, X2, Y]`."""
  total = first[..., :, :, None] + second[..., :, None, :]
  return jnp.moveaxis(total, -3, -1)


def _log_ratio(p, q):
  """Computes log(p / q), 0 where p is 0."""
  return jnp.where(
    p > 0, jnp.log(_replace_zeros(p)) - jnp.log(_replace_zeros(q)), 0.0
  )


def _replace_zeros(x):
  """Replaces zeros by ones, so that `x` can divide or have a logarithm."""
  return jnp.where(x > 0, x, 1.0)


def _normalise(joint, num_axes):
  """Checks the axes, and divides each table by its sum, as floats."""
  (joint,) = types.as_float(joint)
  if joint.ndim < num_axes:
    axes = "[..., L, V, A, Y]" if num_axes == 4 else "[..., X1, X2, Y]"
    raise ValueError(f"joint has shape {joint.shape}: give {axes}.")
  total = rounding.blocked_sum(joint, (-3, -2, -1))
  return joint / _replace_zeros(total)[..., None, None, None]
