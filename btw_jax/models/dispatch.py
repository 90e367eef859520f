"""Two ways for tokens to reach the experts that a device has.

"dense" runs every expert on every token and weighs by 0 what no gate asked for.
"sparse" runs an expert on its own tokens alone, and drops none:

1. Assignments of tokens to experts are sorted by expert.
2. The first C of each expert fill its row of an `[E, C, D]` array, C a little
   above their mean number: one batched product, weights read in place.
3. What an expert gets beyond C follows in blocks, in a loop of as many turns
   as there are blocks: none while the router is balanced.
"""

import math
from typing import NamedTuple

import chex
from flax import linen as nn
import jax
from jax import custom_batching
import jax.numpy as jnp

# Rows of an expert are a multiple of this: the width of a vector register.
_ROWS = 8


class Weights(NamedTuple):
  """The parameters of all experts.

  Attributes:
    hidden_kernel: `[E, D, H]`.
    hidden_bias: `[E, H]`.
    output_kernel: `[E, H, D]`.
    output_bias: `[E, D]`.
  """

  hidden_kernel: chex.Array
  hidden_bias: chex.Array
  output_kernel: chex.Array
  output_bias: chex.Array


def _dense(weights, x, experts, gates):
  num_experts = weights.hidden_bias.shape[0]
  chosen = experts[..., None] == jnp.arange(num_experts)
  share = jnp.sum(jnp.where(chosen, gates[..., None], 0.0), axis=1)
  hidden = jnp.einsum("nd,edh->neh", x, weights.hidden_kernel)
  hidden = nn.relu(hidden + weights.hidden_bias) * share[..., None]
  answers = jnp.einsum("neh,ehd->nd", hidden, weights.output_kernel)
  return answers + share @ weights.output_bias


def _sparse(weights, x, experts, gates):
  num_experts = weights.hidden_bias.shape[0]
  runs = sort(experts, num_experts)
  answers = _answers(weights, x, runs).reshape(*gates.shape, x.shape[-1])
  # Answers of nobody are 0, and gates get no gradient from them.
  return jnp.einsum("nkd,nk->nd", answers, gates)


# name -> way for tokens to reach their experts, as `experts.mixture` calls it
DISPATCHES = {"dense": _dense, "sparse": _sparse}


class Runs(NamedTuple):
  """Assignments of tokens to experts, A = N·K, in runs of one expert each.

  Attributes:
    order: `[A]` assignments, sorted by expert; those to nobody come last.
    expert: `[A]` whom each assignment, in its own order, is sent to.
    rank: `[A]` its place in that expert's run.
    start: `[E]` where each run starts.
    count: `[E]` how long it is.
  """

  order: chex.Array
  expert: chex.Array
  rank: chex.Array
  start: chex.Array
  count: chex.Array


def sort(experts: chex.Array, num_experts: int) -> Runs:
  """Sorts assignments by expert.

  Args:
    experts: `[N, K]` int, whom each token is sent to; E is nobody.
    num_experts: E.

  Returns:
    The runs.
  """
  expert = experts.reshape(-1)
  order = jnp.argsort(expert)
  places = jnp.arange(expert.shape[0], dtype=jnp.int32)
  place = jnp.zeros_like(places).at[order].set(places, unique_indices=True)
  bounds = jnp.searchsorted(
    expert[order], jnp.arange(num_experts + 1), method="scan_unrolled"
  ).astype(jnp.int32)
  start = bounds[:-1]
  rank = place - bounds[expert]
  return Runs(order, expert, rank, start, jnp.diff(bounds))


def _folding(function):
  """Maps over runs of a program by giving each its own tokens and experts.

  `function(weights, x, runs, *grad)` mapped over S runs is itself, called once
  with S·E experts and S·N tokens: a loop of data-dependent length stays one
  loop.
  """
  mapped = custom_batching.custom_vmap(function)

  @mapped.def_vmap
  def rule(size, in_batched, *args):
    def given(x, batched):
      return x if batched else jnp.broadcast_to(x, (size, *x.shape))

    every = jax.tree.map(given, args, tuple(in_batched))
    weights, x, runs, *rest = every
    num_assignments, num_experts = runs.order.shape[1], runs.start.shape[1]
    step = jnp.arange(size, dtype=jnp.int32)[:, None]
    nobody = runs.expert == num_experts
    folded = Runs(
      order=runs.order + step * num_assignments,
      expert=jnp.where(
        nobody, size * num_experts, runs.expert + step * num_experts
      ),
      rank=runs.rank,
      start=runs.start + step * num_assignments,
      count=runs.count,
    )
    merged = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), (weights, x, folded, *rest)
    )
    out = mapped(*merged)
    out = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), out)
    return out, jax.tree.map(lambda _: True, out)

  return mapped


@jax.custom_vjp
def _answers(weights, x, runs):
  """What each assignment's expert says, `[A, D]`, 0 where it is nobody."""
  return _forward(weights, x, runs)[0]


def _answers_fwd(weights, x, runs):
  answers, hidden = _forward(weights, x, runs)
  return answers, (weights, x, runs, hidden)


def _answers_bwd(kept, grad):
  weights, x, runs, hidden = kept
  of_weights, of_inputs = _backward(weights, x, runs, hidden, grad)
  of_x = jnp.sum(of_inputs.reshape(x.shape[0], -1, x.shape[1]), axis=1)
  return of_weights, of_x, None


_answers.defvjp(_answers_fwd, _answers_bwd)


@_folding
def _forward(weights, x, runs):
  slots = Slots(runs, x.shape[0])
  hidden = _hidden(weights, x[slots.tokens])
  answers = slots.collect(_output(weights, hidden))

  def body(block, answers):
    expert, rows = slots.overflow(block)
    one = _expert(weights, expert)
    block_answers = _output(one, _hidden(one, x[slots.token(rows)][None]))
    return answers.at[rows].set(block_answers[0], mode="drop")

  return jax.lax.fori_loop(0, slots.num_blocks, body, answers), hidden


@_folding
def _backward(weights, x, runs, hidden, grad):
  slots = Slots(runs, x.shape[0])
  of_weights, of_slots = _gradients(
    weights, x[slots.tokens], hidden, slots.fill(grad)
  )

  def body(block, carry):
    of_weights, of_inputs = carry
    expert, rows = slots.overflow(block)
    one, inputs = _expert(weights, expert), x[slots.token(rows)][None]
    block_grad = grad.at[rows].get(mode="fill", fill_value=0.0)[None]
    of_one, of_rows = _gradients(one, inputs, _hidden(one, inputs), block_grad)
    of_weights = jax.tree.map(
      lambda total, w: total.at[expert].add(w[0]), of_weights, of_one
    )
    return of_weights, of_inputs.at[rows].set(of_rows[0], mode="drop")

  return jax.lax.fori_loop(
    0, slots.num_blocks, body, (of_weights, slots.collect(of_slots))
  )


class Slots:
  """C places per expert for its first assignments, and blocks for the rest.

  Attributes:
    size: C.
    ids: `[E, C]` the first assignments of each expert; A, nobody's, where there
      are fewer.
    tokens: `[E, C]` those that they are of.
    num_blocks: of C assignments each, that the rest takes.
  """

  def __init__(self, runs: Runs, num_tokens: int):
    """Gives out the places.

    Args:
      runs: of assignments.
      num_tokens: N.
    """
    num_assignments = runs.order.shape[0]
    self._runs, self._num_assignments = runs, num_assignments
    self._num_selected = num_assignments // num_tokens
    mean = num_assignments / runs.start.shape[0]
    # Two standard deviations of a balanced router's counts above their mean.
    rows = math.ceil((mean + 2 * math.sqrt(mean)) / _ROWS) * _ROWS
    self.size = min(rows, -(-num_assignments // _ROWS) * _ROWS)
    self.ids = self.turn(0)
    self.tokens = self.token(self.ids)
    blocks = -(-jnp.maximum(runs.count - self.size, 0) // self.size)
    self._ends = jnp.cumsum(blocks)
    self.num_blocks = self._ends[-1]

  def turn(self, number: chex.Array) -> chex.Array:
    """`[E, C]` assignments of each expert after `number` times C of them."""
    return self._rows_of(self._runs.start, self._runs.count, number * self.size)

  def _rows_of(self, start, count, first):
    """Assignments `first` to `first + C` of a run; A where it is over."""
    places = first + jnp.arange(self.size)
    found = self._runs.order.at[start[..., None] + places].get(mode="clip")
    return jnp.where(places < count[..., None], found, self._num_assignments)

  def token(self, ids: chex.Array) -> chex.Array:
    """Tokens of assignments; any token for none."""
    return jnp.minimum(ids, self._num_assignments - 1) // self._num_selected

  def fill(self, values: chex.Array) -> chex.Array:
    """`[A, D]` to `[E, C, D]`, 0 in places that nobody took."""
    return values.at[self.ids].get(mode="fill", fill_value=0.0)

  def collect(self, values: chex.Array, number: chex.Array = 0) -> chex.Array:
    """`[E, C, D]` of a turn to `[A, D]`, 0 for what has no place in it."""
    runs = self._runs
    rank = runs.rank - number * self.size
    inside = (rank >= 0) & (rank < self.size)
    inside &= runs.expert < runs.start.shape[0]
    place = jnp.where(inside, runs.expert * self.size + rank, 0)
    found = values.reshape(-1, values.shape[-1])[place]
    return jnp.where(inside[:, None], found, 0.0)

  def overflow(self, block: chex.Array) -> tuple[chex.Array, chex.Array]:
    """The expert of a block beyond C, and the assignments in it."""
    runs = self._runs
    expert = jnp.searchsorted(self._ends, block, side="right")
    before = jnp.where(expert > 0, self._ends[expert - 1], 0)
    first = (1 + block - before) * self.size
    return expert, self._rows_of(runs.start[expert], runs.count[expert], first)


def _expert(weights, expert):
  return jax.tree.map(lambda w: w[expert][None], weights)


def _hidden(weights, x):
  """Hidden units of every expert for its own rows, `[E, C, H]`."""
  hidden = jnp.einsum("ecd,edh->ech", x, weights.hidden_kernel)
  return nn.relu(hidden + weights.hidden_bias[:, None])


def _output(weights, hidden):
  answers = jnp.einsum("ech,ehd->ecd", hidden, weights.output_kernel)
  return answers + weights.output_bias[:, None]


def _gradients(weights, x, hidden, grad):
  """Of the weights and of `x`, given that of the answers."""
  of_hidden = jnp.einsum("ecd,ehd->ech", grad, weights.output_kernel)
  of_hidden = jnp.where(hidden > 0, of_hidden, 0.0)
  of_x = jnp.einsum("ech,edh->ecd", of_hidden, weights.hidden_kernel)
  of_weights = Weights(
    jnp.einsum("ecd,ech->edh", x, of_hidden),
    jnp.sum(of_hidden, axis=1),
    jnp.einsum("ech,ecd->ehd", hidden, grad),
    jnp.sum(grad, axis=1),
  )
  return of_weights, of_x
