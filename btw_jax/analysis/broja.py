"""A solver for the convex problem of BROJA, with a certificate of optimality.

Among all joints Q that keep the pairs (x1, y) and (x2, y) of P, it finds the
one whose sources have the least information about y, `I* = min I_Q(Y; X1 X2)`.
Bertschinger et al. (2014), "Quantifying unique information", eq. 15.

The method is mirror descent in KL with step 1:
`R(x1, x2) <- Σ_y p(y) Q_y(x1, x2)`, where Q_y is the projection of R on the two
margins of y, computed by scaling its rows and columns (admUI, Banerjee et al.
2018, algorithm 1). Logarithms of R are extrapolated by Nesterov's momentum,
which restarts whenever the last step went against it (O'Donoghue & Candès
2015, section 3.2).

The scaling gives `Q = p(y) R u v`, hence potentials `a(x1, y) = log u` and
`b(x2, y) = log v`. Any such pair is a lower bound of I*:

  I* >= Σ P(x1, y) a + Σ P(x2, y) b - log max_{x1, x2} Σ_y p(y) e^{a + b}

The reason is `I_Q >= E_Q[f] - log E[e^f]`, with the second mean under
independence (Donsker & Varadhan), for every f. For f = a + b, E_Q[f] is the
same for all Q.

The gap is that of real numbers: `solve` widens the difference of the computed
values by a bound of their rounding.

R is the same for all y. A step is therefore a few matrix products, and the full
table over x1, x2 and y is built only to compute the gap. Arrays are flat except
in those products, because XLA vectorises along the last axis only, which would
be short here. The axis of y comes first.
"""

import functools
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax.analysis import rounding
from btw_jax.mutual_information import discrete

# Steps between two computations of the gap, and scalings in a step. Fewer
# scalings need more steps where P(x1, y) and P(x2, y) leave little freedom.
_STEPS_PER_CHECK, _SCALINGS = 20, 8
# The smallest value of R: smaller ones are not normal float32 numbers. As Q is
# at most 1, u v is at most 1 / _LEAST.
_LEAST = 1e-37
# The largest change of a logarithm by extrapolation.
_MAX_EXTRAPOLATION = 30.0
# Accelerators round the factors of a product by default, and a rounded bound
# would prove nothing.
_dot = functools.partial(jnp.matmul, precision="highest")


class Solution(NamedTuple):
  """The least information and its certificate.

  Attributes:
    information: scalar nats, I_Q of a Q that keeps both pairs.
    gap: scalar nats, not negative; `information` differs from I* by at most
      this.
    potentials: a `[Y, X1]` and b `[Y, X2]`, 0 where P of the pair is 0.
    shares: `[X1]` and `[X2]` nats, the shares of each value of a source in
      `information`, which is the sum over the values of either source.
  """

  information: chex.Array
  gap: chex.Array
  potentials: "Pair"
  shares: "Pair"


class Pair(NamedTuple):
  """One array for each source, such as the factors u and v of R for each y.

  Arrays by y are flat, `[Y X1]` and `[Y X2]`, while solving.
  """

  first: chex.Array
  second: chex.Array


class _State(NamedTuple):
  """The state of the descent.

  Attributes:
    log_r: `[X1 X2]` log R.
    previous: `[X1 X2]` log R before the last step.
    factors: u and v of the last projection.
    momentum: Nesterov's t, a scalar.
    sums: sums of the potentials since the last restart, weighted by momentum.
    total: the sum of those weights.
  """

  log_r: chex.Array
  previous: chex.Array
  factors: Pair
  momentum: chex.Array
  sums: Pair
  total: chex.Array


class Margins(NamedTuple):
  """The margins of a joint.

  Attributes:
    p_y: `[Y]`, sums to 1.
    first: `[Y X1]`, flat: P(x1 | y), sums to 1 over x1 where P(y) is not 0.
    second: `[Y X2]`, flat: P(x2 | y), likewise.
  """

  p_y: chex.Array
  first: chex.Array
  second: chex.Array

  @classmethod
  def from_joint(cls, joint):
    """Returns the margins of a joint `[Y, X1, X2]`."""
    p_y = rounding.blocked_sum(joint, (1, 2))
    # Where P(y) is 0, the pairs are 0 as well.
    conditional = joint / _replace_zeros(p_y)[:, None, None]
    pairs = (rounding.blocked_sum(conditional, (axis,)) for axis in (2, 1))
    return cls(p_y, *(pair.ravel() for pair in pairs))

  def table(self, x):
    """Reshapes a flat array to `[Y, ...]`."""
    return x.reshape(len(self.p_y), -1)

  def mix(self, factors):
    """Computes Σ_y p(y) u v, `[X1 X2]`."""
    first, second = (self.table(x) for x in factors)
    return _dot((self.p_y[:, None] * first).T, second).ravel()


def solve(problem: Margins, num_iterations: int, tolerance: float) -> Solution:
  """Finds the least information of two sources about y, given its margins.

  The solver stops when the gap, without what rounding adds to it, is at most
  `tolerance`, in nats, or after `num_iterations` steps, and returns the best Q
  and bound.
  """
  state = _initial_state(problem)

  def unfinished(carry):
    _, solution, steps = carry
    return (steps < num_iterations) & (solution.gap > tolerance)

  def advance(carry):
    state, solution, steps = carry
    num_steps = jnp.minimum(_STEPS_PER_CHECK, num_iterations - steps)
    state = jax.lax.fori_loop(
      0, num_steps, lambda _, state: _step(problem, state), state
    )
    return (
      state,
      _combine(solution, _certify(problem, state)),
      steps + num_steps,
    )

  carry = state, _certify(problem, state), jnp.int32(0)
  solution = jax.lax.while_loop(unfinished, advance, carry)[1]
  gap = jnp.maximum(solution.gap, 0.0) + _rounding_error(problem, solution)
  tables = jax.tree.map(problem.table, solution.potentials)
  return solution._replace(gap=gap, potentials=tables)


def _initial_state(problem):
  """Starts with sources that are independent given y."""
  p_y, *margins = problem
  log_r = _log(problem.mix(Pair(*margins)))
  factors = Pair(
    *(
      _divide(problem.table(c), _dot(p_y, problem.table(c))).ravel()
      for c in margins
    )
  )
  one, zeros = jnp.ones_like(p_y[0]), jax.tree.map(jnp.zeros_like, factors)
  return _State(log_r, log_r, factors, one, zeros, 0 * one)


def _step(problem, state):
  """Takes a step of mirror descent with momentum."""
  momentum = (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2
  coefficient = (state.momentum - 1) / momentum
  log_ahead = state.log_r + jnp.clip(
    coefficient * (state.log_r - state.previous),
    -_MAX_EXTRAPOLATION,
    _MAX_EXTRAPOLATION,
  )
  r = jnp.maximum(jnp.exp(log_ahead), _LEAST)
  factors = _scale(problem, r, state.factors.second)
  projected = r * problem.mix(factors)
  log_r = _log(projected)
  restart = jnp.sum((projected - r) * (log_r - state.log_r)) < 0
  keep = jnp.where(restart, 0.0, 1.0)
  sums = jax.tree.map(
    lambda a, b: keep * (a + momentum * b), state.sums, _potentials(factors)
  )
  return _State(
    log_r,
    jnp.where(restart, log_r, state.log_r),
    factors,
    jnp.where(restart, 1.0, momentum),
    sums,
    keep * (state.total + momentum),
  )


def _scale(problem, r, second):
  """Computes the factors that project R on the margins of every y."""
  r = r.reshape(-1, problem.table(problem.second).shape[1])
  for _ in range(_SCALINGS):
    first = _divide(problem.first, _dot(problem.table(second), r.T).ravel())
    second = _divide(problem.second, _dot(problem.table(first), r).ravel())
  return Pair(first, second)


def _potentials(factors):
  """Computes the logarithms of factors, 0 where a factor is 0."""
  return jax.tree.map(
    lambda x: jnp.where(x > 0, jnp.log(_replace_zeros(x)), 0.0), factors
  )


def _certify(problem, state):
  """Computes the information of a feasible Q, and the best of two bounds.

  The bounds are those of the last potentials and of their weighted mean.
  """
  r = jnp.exp(state.log_r)
  last = _scale(problem, r, state.factors.second)
  first, second = (problem.table(x) for x in last)
  joint = (first[:, :, None] * second[:, None]) * r.reshape(
    1, first.shape[1], second.shape[1]
  )
  # The remainders are rounding, so a second evaluation, which a compiler may
  # prefer to storing the table, could give other ones.
  joint = jax.lax.optimization_barrier(_make_feasible(problem, joint))
  upper, shares = _information(problem, joint)
  mean = jax.tree.map(lambda s: s / _replace_zeros(state.total), state.sums)
  return _combine(
    *(
      Solution(upper, upper - _bound(problem, potentials), potentials, shares)
      for potentials in (_potentials(last), mean)
    )
  )


def _combine(a, b):
  """Combines the lesser information and the better bound of two solutions."""
  information = jnp.minimum(a.information, b.information)
  bounds = [s.information - s.gap for s in (a, b)]

  def choose(b_is_better, x, y):
    return jax.tree.map(lambda x, y: jnp.where(b_is_better, y, x), x, y)

  return Solution(
    information,
    information - jnp.maximum(*bounds),
    choose(bounds[1] > bounds[0], a.potentials, b.potentials),
    choose(b.information < a.information, a.shares, b.shares),
  )


def _make_feasible(problem, joint):
  """Returns a joint near the given one that has exactly the margins.

  Altschuler et al. (2017), "Near-linear time approximation algorithms for
  optimal transport via Sinkhorn iteration", algorithm 2.
  """
  first, second = problem.table(problem.first), problem.table(problem.second)
  rows = _divide(first, rounding.blocked_sum(joint, (2,)))
  joint = joint * jnp.minimum(rows, 1.0)[:, :, None]
  columns = _divide(second, rounding.blocked_sum(joint, (1,)))
  joint = joint * jnp.minimum(columns, 1.0)[:, None]
  # Rounding may make a remainder negative.
  rows, columns = (
    jnp.maximum(margin - rounding.blocked_sum(joint, (axis,)), 0.0)
    for margin, axis in ((first, 2), (second, 1))
  )
  total = rounding.blocked_sum(columns, (1,))
  columns = columns / _replace_zeros(total)[:, None]
  return joint + rows[:, :, None] * columns[:, None]


def _information(problem, joint):
  """Computes I_Q(Y; X1 X2) from Q(x1, x2 | y), and each value's share in it."""
  table = joint * problem.p_y[:, None, None]
  of_pair = rounding.blocked_sum(table, (0,)).reshape(1, -1)
  terms = discrete.terms(
    table.reshape(len(table), -1), (problem.p_y[:, None], of_pair)
  )
  by_pair = rounding.blocked_sum(terms, (0,)).reshape(table.shape[1:])
  shares = Pair(*(rounding.blocked_sum(by_pair, (axis,)) for axis in (1, 0)))
  return rounding.blocked_sum(shares.first, (0,)), shares


def _bound(problem, potentials):
  """Computes the lower bound of I* that potentials prove."""
  _, *margins = problem
  mean = sum(_means(problem, potentials))
  factors = Pair(
    *(
      jnp.where(c > 0, jnp.exp(potential), 0.0)
      for c, potential in zip(margins, potentials, strict=True)
    )
  )
  return mean - jnp.log(_replace_zeros(jnp.max(problem.mix(factors))))


def _means(problem, potentials):
  """Returns the means of both potentials under P."""
  p_y, *margins = problem
  return [
    rounding.blocked_sum(p_y[:, None] * problem.table(c * potential), (0, 1))
    for c, potential in zip(margins, potentials, strict=True)
  ]


def _rounding_error(problem, solution):
  """Bounds what rounding may hide: the errors of `information` and the bound.

  With u, D and `CELL` of `rounding`:

  - Q has the margins of P but for relative errors of `(D + CELL) u`, and the
    remainder that `_make_feasible` spreads is off by as much. A joint with the
    exact margins has at most as much more information as this error times
    `Σ q |log(q / r)| <= I + 1`, and times H(Y) <= log Y for the remainder.
  - The means of the potentials a and b err by `(D + CELL) u` for P and `D u`
    for the sum, times the means of |a| and |b|.
  - `Σ_y p(y) e^{a + b}` has no negative term: its relative error is that of
    p(y), `Y u` of the sum, and `8u` of two exponentials. That of its logarithm
    is `4u`, and the logarithm is the bound less both means.
  """
  sizes = (
    len(problem.p_y),
    *(problem.table(x).shape[1] for x in (problem.first, problem.second)),
  )
  mass = rounding.blocked_sum(problem.p_y, (0,))
  cell_error = rounding.num_additions(*sizes) + rounding.CELL
  information = jnp.maximum(solution.information, 0.0)
  potentials = jax.tree.map(jnp.abs, solution.potentials)
  magnitude = sum(_means(problem, potentials))
  distance = information + jnp.abs(solution.gap)
  errors = (
    cell_error * (information + mass * (1 + math.log(sizes[0])))
    + 2 * cell_error * magnitude
    + mass * (cell_error + sizes[0] + 8)
    + 4 * (magnitude + distance)
  )
  return rounding.information_error(information, mass, sizes) + (
    jnp.finfo(errors.dtype).eps / 2 * errors
  )


def _replace_zeros(x):
  """Replaces zeros by ones, so that `x` can divide or have a logarithm."""
  return jnp.where(x > 0, x, 1.0)


def _divide(x, y):
  """Divides; the quotient is finite, and 0 where both are 0."""
  return x / jnp.maximum(y, _LEAST)


def _log(x):
  return jnp.log(jnp.maximum(x, _LEAST))
