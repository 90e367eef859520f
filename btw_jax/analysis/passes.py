"""Decomposes decisions from passes with both sources and with each alone.

A pass is the model's distribution over the options of each question. In the
pass with both sources the model sees X1 and X2 of an example; in the two
single passes it sees one of them. The three give I(Y; X1 X2), P(x1, y) and
P(x2, y), and BROJA needs no more: the unknown joint of the sources is what it
minimises over. A batch of n examples is a problem with n values of each source.

"Modality interaction in multimodal language models by Partial Information
Decomposition", arXiv 2606.00959. There, a network learns the coupling of the
sources; here it is solved for exactly, with a certificate.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import divergences
from btw_jax.analysis import broja
from btw_jax.analysis import decisions
from btw_jax.analysis import pid

# The least probability of an offered option. A model that is certain of an
# answer in all examples could not be given another P(Y).
FLOOR = 1e-6
_NUM_PROJECTIONS, _TOLERANCE = 1000, 1e-6


class Passes(NamedTuple):
  """The log-probabilities of n examples in three passes.

  Attributes:
    both: `[n, C]`, −inf for options that a question does not offer.
    first: `[n, C]`, of the pass with the first source only.
    second: `[n, C]`, of the pass with the second source only.
  """

  both: chex.Array
  first: chex.Array
  second: chex.Array


class Shuffled(NamedTuple):
  """The decomposition of hard answers, and what chance alone gives.

  Attributes:
    observed: atoms of the table of answers, scalars.
    null_mean: the mean atoms when the answers of the pass with both sources
      are shuffled: the bias of a table that is estimated from few answers.
    null_std: their standard deviations over shuffles.
  """

  observed: pid.Decomposition
  null_mean: pid.Decomposition
  null_std: pid.Decomposition


def raise_floor(log_probs: chex.Array, offered: chex.Array) -> chex.Array:
  """Raises the probability of every offered option to at least `FLOOR`.

  Args:
    log_probs: `[..., C]`.
    offered: `[..., C]` bool, False where a question has no such option.

  Returns:
    `[..., C]` normalised log-probabilities, −inf where an option is not
    offered.
  """
  raised = jnp.maximum(log_probs, jnp.log(FLOOR))
  return jax.nn.log_softmax(jnp.where(offered, raised, -jnp.inf), axis=-1)


def marginal(log_probs: chex.Array, where: chex.Array) -> chex.Array:
  """Returns P(Y) `[C]`, the mean of a pass `[n, C]` over counted examples."""
  probs = jnp.where(where[:, None], jnp.exp(log_probs), 0.0)
  return jnp.sum(probs, axis=0) / jnp.maximum(jnp.sum(where), 1)


def project(
  log_probs: chex.Array, p_y: chex.Array, where: chex.Array
) -> chex.Array:
  """Returns the pass nearest to a given one whose mean is P(Y).

  It is the projection in KL, `q_i(y) ∝ p_i(y) c(y)`, with one factor for each
  option, found by iterative proportional fitting (Csiszár 1975, "I-divergence
  geometry of probability distributions").

  Args:
    log_probs: `[n, C]`, −inf for options that a question does not offer.
    p_y: `[C]` sums to 1.
    where: `[n]` bool, the examples that count.

  Returns:
    `[n, C]` log-probabilities.
  """
  target = _log(p_y)

  def shift(state):
    factors, _, step = state
    mean = marginal(jax.nn.log_softmax(log_probs + factors, axis=-1), where)
    factors += jnp.where(p_y > 0, target - _log(mean), 0.0)
    return factors, jnp.max(jnp.abs(mean - p_y)), step + 1

  def unfinished(state):
    return (state[1] > _TOLERANCE) & (state[2] < _NUM_PROJECTIONS)

  start = jnp.zeros_like(p_y), jnp.full((), jnp.inf, p_y.dtype), jnp.int32(0)
  factors = jax.lax.while_loop(unfinished, shift, start)[0]
  return jax.nn.log_softmax(log_probs + factors, axis=-1)


def distance(
  log_probs: chex.Array, projected: chex.Array, where: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Measures how far a projection has moved a pass.

  Args:
    log_probs: `[n, C]`, the pass.
    projected: `[n, C]`, what `project` makes of it.
    where: `[n]` bool, the examples that count.

  Returns:
    The mean divergence of the projected pass from the given one, in nats, and
    the total variation distance of their P(Y), from 0 to 1; scalars.
  """
  moved = divergences.categorical_kl(projected, log_probs)
  moved = jnp.sum(jnp.where(where, moved, 0.0)) / jnp.maximum(jnp.sum(where), 1)
  change = marginal(log_probs, where) - marginal(projected, where)
  return moved, jnp.sum(jnp.abs(change)) / 2


def decompose(
  passes: Passes,
  where: chex.Array,
  reference: chex.Array | None = None,
  *,
  num_iterations: int = 200,
  tolerance: float = 1e-6,
) -> pid.Decomposition:
  """Decomposes the information of two sources about a model's decision.

  The margins of a joint have one P(Y), which is that of the pass with both
  sources: the two single passes are projected to it. The information of example
  i is `KL(p_i ‖ reference)` in each pass, and its share in I* is the mean of
  the shares of its two sources. The atoms of the examples have any sign; their
  means over the batch are the atoms of `broja`.

  A batch of a larger set has another P(Y) by chance. With the P(Y) of the set
  as reference, each information is that of the batch plus KL(P(Y) of the batch
  ‖ reference). Unique information and synergy are differences, so they do not
  change; redundancy gets what the batch alone would miss.

  Args:
    passes: log-probabilities `[n, C]`.
    where: `[n]` bool, the examples that count.
    reference: `[C]` probabilities that information is measured against; the
      P(Y) of the batch by default.
    num_iterations: largest number of solver steps.
    tolerance: gap in nats at which the solver stops.

  Returns:
    `[n]` atoms in nats, 0 where an example does not count; `gap` is a scalar,
    the largest error of a mean.
  """
  p_y = marginal(passes.both, where)
  reference = p_y if reference is None else reference
  first, second = (
    project(x, p_y, where) for x in (passes.first, passes.second)
  )
  count = jnp.maximum(jnp.sum(where), 1)
  safe_p_y = jnp.where(p_y > 0, p_y, 1.0)

  def margin(log_probs):
    probs = jnp.where(where[:, None], jnp.exp(log_probs), 0.0)
    return jnp.where(p_y > 0, probs / (count * safe_p_y), 0.0).T.ravel()

  solution = broja.solve(
    broja.Margins(p_y, margin(first), margin(second)),
    num_iterations,
    tolerance,
  )
  # The shares are measured against P(Y).
  step = jnp.where(p_y > 0, _finite_log(p_y) - _finite_log(reference), 0.0)
  shift = (jnp.exp(first) + jnp.exp(second)) @ step / 2
  union = count * sum(solution.shares) / 2 + shift
  both, first, second = (
    divergences.categorical_kl(x, jnp.broadcast_to(_log(reference), x.shape))
    for x in (passes.both, first, second)
  )
  atoms = (first + second - union, union - second, union - first, both - union)
  return pid.Decomposition(
    *(jnp.where(where, atom, 0.0) for atom in atoms), solution.gap
  )


def decompose_answers(
  both: chex.Array,
  first: chex.Array,
  second: chex.Array,
  key: chex.PRNGKey,
  *,
  num_options: int,
  num_shuffles: int,
) -> Shuffled:
  """Decomposes hard answers: how those of single passes tell that of both.

  The sources are the answers of the single passes, the target is the answer of
  the pass with both, and their joint is the table of counts. Such a table has
  information by chance; its mean over shuffles estimates how much.

  Args:
    both: `[N]` int answers, from 0 to C − 1.
    first: `[N]` int, of the pass with the first source only.
    second: `[N]` int, of the pass with the second source only.
    key: random key of the shuffles.
    num_options: C, static.
    num_shuffles: number of shuffles, static, at least 2.

  Returns:
    The atoms, not corrected: subtract `null_mean`.
  """
  first, second, both = (
    jax.nn.one_hot(x, num_options) for x in (first, second, both)
  )

  def solve(target):
    return pid.broja(decisions.soft([first, second], target))

  def solve_shuffled(shuffle_key):
    return solve(jax.random.permutation(shuffle_key, both))

  null = jax.lax.map(solve_shuffled, jax.random.split(key, num_shuffles))
  return Shuffled(
    solve(both),
    jax.tree.map(jnp.mean, null),
    jax.tree.map(lambda x: jnp.std(x, ddof=1), null),
  )


def _log(p):
  """Returns log-probabilities, −inf for 0, with finite gradients."""
  return jnp.where(p > 0, _finite_log(p), -jnp.inf)


def _finite_log(p):
  """Returns log-probabilities, 0 for 0."""
  return jnp.log(jnp.where(p > 0, p, 1.0))
