"""The convex programme behind BROJA, solved with a certificate.

Over all joints Q that keep the pairs (x1, y) and (x2, y) of P, the one whose
sources tell least about y: `I* = min I_Q(Y; X1 X2)`. Bertschinger et al.
(2014), "Quantifying unique information", eq. 15.

Mirror descent in KL with step 1: `R(x1, x2) <- Σ_y p(y) Q_y(x1, x2)`, each Q_y
being the projection of R on the two margins of y, which scaling of rows and
columns gives: admUI, Banerjee et al. (2018), algorithm 1. Logarithms of R are
extrapolated as Nesterov does, anew whenever the last step went against it:
O'Donoghue & Candès (2015), section 3.2.

The scaling leaves `Q = p(y) R u v`, hence potentials `a(x1, y) = log u` and
`b(x2, y) = log v`, and any such pair bounds I* from below:

  I* >= Σ P(x1, y) a + Σ P(x2, y) b - log max_{x1, x2} Σ_y p(y) e^{a + b}

since `I_Q >= E_Q[f] - log E[e^f]` under independence (Donsker & Varadhan) for
every f, of which E_Q is the same for all Q when f = a + b.

R is the same for all y, so that a step is a few products of matrices, and no
table of all of x1, x2 and y is made but to look at the gap. Tables are flat
but in those products: XLA fills vectors along the last axis only, which is
short here. y comes first.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax.mutual_information import discrete

# Steps between two looks at the gap, and scalings in a step. Fewer scalings
# cost steps where P(x1, y) and P(x2, y) leave little choice.
_BETWEEN, _SCALINGS = 20, 8
# Below it R counts as this: smaller ones are no normal float32. No u v is then
# more than 1 / _LEAST, Q being at most 1.
_LEAST = 1e-37
# How far a logarithm may be extrapolated.
_FARTHEST = 30.0
# Accelerators otherwise round what they multiply, and a bound must be one.
_dot = functools.partial(jnp.matmul, precision="highest")


class Solution(NamedTuple):
  """The least information, and what proves it.

  Attributes:
    information: scalar nats, I_Q of a Q that keeps both pairs.
    gap: scalar nats; I* is at most this much less.
    potentials: a `[Y, X1]` and b `[Y, X2]`, 0 where P of the pair is.
  """

  information: chex.Array
  gap: chex.Array
  potentials: "Factors"


class Factors(NamedTuple):
  """What R is scaled by for each y, or the logarithms; flat while solving."""

  first: chex.Array
  second: chex.Array


class _State(NamedTuple):
  """Of the descent.

  `sums` are of the potentials since momentum began anew, by its weight, which
  `total` adds up.
  """

  log_r: chex.Array
  previous: chex.Array
  factors: Factors
  momentum: chex.Array
  sums: Factors
  total: chex.Array


class _Problem(NamedTuple):
  """The margins of a joint.

  Attributes:
    p_y: `[Y]`.
    first: `[Y X1]` P(x1 | y).
    second: `[Y X2]` P(x2 | y).
  """

  p_y: chex.Array
  first: chex.Array
  second: chex.Array

  @classmethod
  def of(cls, joint):
    p_y = jnp.sum(joint, axis=(1, 2))
    # Of a y that never comes the pairs are 0 as well.
    given = joint / _positive(p_y)[:, None, None]
    return cls(p_y, *(jnp.sum(given, axis).ravel() for axis in (2, 1)))

  def table(self, x):
    """What is flat, y by y."""
    return x.reshape(len(self.p_y), -1)

  def mix(self, factors):
    """Σ_y p(y) u v, `[X1 X2]`."""
    first, second = (self.table(x) for x in factors)
    return _dot((self.p_y[:, None] * first).T, second).ravel()


def solve(joint: chex.Array, num_iterations: int, tolerance: float) -> Solution:
  """The Q that tells least.

  Args:
    joint: `[Y, X1, X2]`, summing to 1.
    num_iterations: steps, at most.
    tolerance: gap in nats that ends it.

  Returns:
    The best found.
  """
  problem = _Problem.of(joint)
  state = _start(problem)

  def more(carry):
    _, solution, steps = carry
    return (steps < num_iterations) & (solution.gap > tolerance)

  def on(carry):
    state, solution, steps = carry
    each = jnp.minimum(_BETWEEN, num_iterations - steps)
    state = jax.lax.fori_loop(
      0, each, lambda _, state: _step(problem, state), state
    )
    return state, _better(solution, _look(problem, state)), steps + each

  carry = state, _look(problem, state), jnp.int32(0)
  solution = jax.lax.while_loop(more, on, carry)[1]
  tables = jax.tree.map(problem.table, solution.potentials)
  return solution._replace(potentials=tables)


def _start(problem):
  """The sources independent given y."""
  p_y, *margins = problem
  log_r = _log(problem.mix(Factors(*margins)))
  factors = Factors(
    *(
      _quotient(problem.table(c), _dot(p_y, problem.table(c))).ravel()
      for c in margins
    )
  )
  one, nothing = jnp.ones_like(p_y[0]), jax.tree.map(jnp.zeros_like, factors)
  return _State(log_r, log_r, factors, one, nothing, 0 * one)


def _step(problem, state):
  momentum = (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2
  share = (state.momentum - 1) / momentum
  ahead = state.log_r + jnp.clip(
    share * (state.log_r - state.previous), -_FARTHEST, _FARTHEST
  )
  r = jnp.maximum(jnp.exp(ahead), _LEAST)
  factors = _scale(problem, r, state.factors.second)
  projected = r * problem.mix(factors)
  log_r = _log(projected)
  anew = jnp.sum((projected - r) * (log_r - state.log_r)) < 0
  kept = jnp.where(anew, 0.0, 1.0)
  sums = jax.tree.map(
    lambda a, b: kept * (a + momentum * b), state.sums, _potentials(factors)
  )
  return _State(
    log_r,
    jnp.where(anew, log_r, state.log_r),
    factors,
    jnp.where(anew, 1.0, momentum),
    sums,
    kept * (state.total + momentum),
  )


def _scale(problem, r, second):
  """Factors that project R on the margins of every y."""
  r = r.reshape(-1, problem.table(problem.second).shape[1])
  for _ in range(_SCALINGS):
    first = _quotient(problem.first, _dot(problem.table(second), r.T).ravel())
    second = _quotient(problem.second, _dot(problem.table(first), r).ravel())
  return Factors(first, second)


def _potentials(factors):
  """Their logarithms, 0 where they are."""
  return jax.tree.map(
    lambda x: jnp.where(x > 0, jnp.log(_positive(x)), 0.0), factors
  )


def _look(problem, state):
  """What the state proves."""
  r = jnp.exp(state.log_r)
  last = _scale(problem, r, state.factors.second)
  first, second = (problem.table(x) for x in last)
  joint = (first[:, :, None] * second[:, None]) * r.reshape(
    1, first.shape[1], second.shape[1]
  )
  upper = _information(problem, _feasible(problem, joint))
  mean = jax.tree.map(lambda s: s / _positive(state.total), state.sums)
  return _better(
    *(
      Solution(upper, upper - _bound(problem, potentials), potentials)
      for potentials in (_potentials(last), mean)
    )
  )


def _better(one, other):
  """The less information, and the better bound, of two solutions."""
  information = jnp.minimum(one.information, other.information)
  bounds = [s.information - s.gap for s in (one, other)]
  better = bounds[1] > bounds[0]
  return Solution(
    information,
    information - jnp.maximum(*bounds),
    jax.tree.map(
      lambda a, b: jnp.where(better, b, a), one.potentials, other.potentials
    ),
  )


def _feasible(problem, joint):
  """One near it that has the margins.

  Altschuler et al. (2017), "Near-linear time approximation algorithms for
  optimal transport via Sinkhorn iteration", algorithm 2.
  """
  first, second = problem.table(problem.first), problem.table(problem.second)
  rows = _quotient(first, jnp.sum(joint, axis=2))
  joint = joint * jnp.minimum(rows, 1.0)[:, :, None]
  columns = _quotient(second, jnp.sum(joint, axis=1))
  joint = joint * jnp.minimum(columns, 1.0)[:, None]
  # Rounding may leave less than nothing.
  rows, columns = (
    jnp.maximum(wanted - jnp.sum(joint, axis), 0.0)
    for wanted, axis in ((first, 2), (second, 1))
  )
  columns = columns / _positive(jnp.sum(columns, axis=1, keepdims=True))
  return joint + rows[:, :, None] * columns[:, None]


def _information(problem, joint):
  """I_Q(Y; X1 X2) of Q(x1, x2 | y)."""
  table = joint * problem.p_y[:, None, None]
  return discrete.from_joint(table.reshape(len(table), -1))


def _bound(problem, potentials):
  """What potentials prove that any Q tells at least."""
  p_y, *margins = problem
  mean = sum(
    _dot(p_y, jnp.sum(problem.table(c * potential), axis=1))
    for c, potential in zip(margins, potentials, strict=True)
  )
  factors = Factors(
    *(
      jnp.where(c > 0, jnp.exp(potential), 0.0)
      for c, potential in zip(margins, potentials, strict=True)
    )
  )
  return mean - jnp.log(_positive(jnp.max(problem.mix(factors))))


def _positive(x):
  return jnp.where(x > 0, x, 1.0)


def _quotient(x, y):
  """0 where both are, and finite."""
  return x / jnp.maximum(y, _LEAST)


def _log(x):
  return jnp.log(jnp.maximum(x, _LEAST))
