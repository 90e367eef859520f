"""Two ways to send tokens to the experts of one device.

"dense" applies every expert to every token and multiplies the outputs by the
gates, which are 0 for experts that were not chosen. "sparse" applies an expert
only to its own tokens, and drops none:

1. Assignments (pairs of a token and an expert) are sorted by expert.
2. The first C assignments of each expert fill its row of an `[E, C, D]` buffer,
   where C is a little above the mean number per expert. One batched product
   computes all of them and reads the parameters in place.
3. The assignments of an expert beyond C follow in overflow blocks, one
   iteration of a loop per block: none while the router is balanced.
"""

import math
from typing import NamedTuple

import chex
from flax import linen as nn
import jax
from jax import custom_batching
import jax.numpy as jnp

# The size of a buffer is a multiple of the width of a vector register.
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
  expert_gates = jnp.sum(jnp.where(chosen, gates[..., None], 0.0), axis=1)
  hidden = jnp.einsum("nd,edh->neh", x, weights.hidden_kernel)
  # The output layer is linear, so the gates can be applied before it.
  hidden = nn.relu(hidden + weights.hidden_bias) * expert_gates[..., None]
  outputs = jnp.einsum("neh,ehd->nd", hidden, weights.output_kernel)
  return outputs + expert_gates @ weights.output_bias


def _sparse(weights, x, experts, gates):
  num_experts = weights.hidden_bias.shape[0]
  assignments = sort_by_expert(experts, num_experts)
  outputs = _apply(weights, x, assignments).reshape(*gates.shape, x.shape[-1])
  # Outputs of unassigned entries are 0, so their gates get no gradient.
  return jnp.einsum("nkd,nk->nd", outputs, gates)


# name -> function that mixes expert outputs, called as `experts.mixture` does
DISPATCHES = {"dense": _dense, "sparse": _sparse}


class SortedAssignments(NamedTuple):
  """Assignments of tokens to experts, A = N·K, sorted by expert.

  Attributes:
    order: `[A]` assignments in sorted order; unassigned ones come last.
    expert: `[A]` the expert of each assignment, in the original order; E where
      there is none.
    rank: `[A]` position of each assignment among those of its expert.
    start: `[E]` sorted position of the first assignment of each expert.
    count: `[E]` number of assignments of each expert.
  """

  order: chex.Array
  expert: chex.Array
  rank: chex.Array
  start: chex.Array
  count: chex.Array


def sort_by_expert(experts: chex.Array, num_experts: int) -> SortedAssignments:
  """Sorts assignments `[N, K]` by expert; the value E means no expert."""
  expert = experts.reshape(-1)
  order = jnp.argsort(expert)
  positions = jnp.arange(expert.shape[0], dtype=jnp.int32)
  position = (
    jnp.zeros_like(positions).at[order].set(positions, unique_indices=True)
  )
  bounds = jnp.searchsorted(
    expert[order], jnp.arange(num_experts + 1), method="scan_unrolled"
  ).astype(jnp.int32)
  start = bounds[:-1]
  rank = position - bounds[expert]
  return SortedAssignments(order, expert, rank, start, jnp.diff(bounds))


def _fold_vmap(function):
  """Adds a `vmap` rule that folds the mapped axis into experts and tokens.

  `function(weights, x, assignments, *grad)` mapped over an axis of length S
  becomes one call with S·E experts and S·N tokens. The default rule would
  repeat the loop as often as the longest of the S loops needs, and select the
  arrays it carries after each iteration.
  """
  mapped = custom_batching.custom_vmap(function)

  @mapped.def_vmap
  def rule(size, in_batched, *args):
    def broadcast(x, batched):
      return x if batched else jnp.broadcast_to(x, (size, *x.shape))

    batched_args = jax.tree.map(broadcast, args, tuple(in_batched))
    weights, x, assignments, *grads = batched_args
    num_assignments, num_experts = (
      assignments.order.shape[1],
      assignments.start.shape[1],
    )
    index = jnp.arange(size, dtype=jnp.int32)[:, None]
    unassigned = assignments.expert == num_experts
    folded = SortedAssignments(
      order=assignments.order + index * num_assignments,
      expert=jnp.where(
        unassigned,
        size * num_experts,
        assignments.expert + index * num_experts,
      ),
      rank=assignments.rank,
      start=assignments.start + index * num_assignments,
      count=assignments.count,
    )
    merged = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), (weights, x, folded, *grads)
    )
    out = mapped(*merged)
    out = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), out)
    return out, jax.tree.map(lambda _: True, out)

  return mapped


@jax.custom_vjp
def _apply(weights, x, assignments):
  """Returns the expert output of each assignment, `[A, D]`; 0 if unassigned."""
  return _forward(weights, x, assignments)[0]


def _apply_fwd(weights, x, assignments):
  outputs, hidden = _forward(weights, x, assignments)
  return outputs, (weights, x, assignments, hidden)


def _apply_bwd(residuals, grad):
  weights, x, assignments, hidden = residuals
  weights_grad, inputs_grad = _backward(weights, x, assignments, hidden, grad)
  x_grad = jnp.sum(inputs_grad.reshape(x.shape[0], -1, x.shape[1]), axis=1)
  return weights_grad, x_grad, None


_apply.defvjp(_apply_fwd, _apply_bwd)


@_fold_vmap
def _forward(weights, x, assignments):
  """Returns outputs `[A, D]` and the hidden units of the buffers."""
  buffers = ExpertBuffers(assignments, x.shape[0])
  hidden = _hidden(weights, x[buffers.tokens])
  outputs = buffers.collect(_output(weights, hidden))

  def body(block, outputs):
    expert, ids = buffers.overflow(block)
    params = _select(weights, expert)
    block_outputs = _output(
      params, _hidden(params, x[buffers.token_ids(ids)][None])
    )
    return outputs.at[ids].set(block_outputs[0], mode="drop")

  return jax.lax.fori_loop(0, buffers.num_blocks, body, outputs), hidden


@_fold_vmap
def _backward(weights, x, assignments, hidden, grad):
  """Returns gradients of the parameters and of the inputs `[A, D]`.

  Hidden units of the overflow blocks are computed again: JAX cannot
  differentiate a loop whose length depends on data, nor store them all.
  """
  buffers = ExpertBuffers(assignments, x.shape[0])
  weights_grad, buffers_grad = _gradients(
    weights, x[buffers.tokens], hidden, buffers.fill(grad)
  )

  def body(block, carry):
    weights_grad, inputs_grad = carry
    expert, ids = buffers.overflow(block)
    params, inputs = _select(weights, expert), x[buffers.token_ids(ids)][None]
    block_grad = grad.at[ids].get(mode="fill", fill_value=0.0)[None]
    params_grad, rows_grad = _gradients(
      params, inputs, _hidden(params, inputs), block_grad
    )
    weights_grad = jax.tree.map(
      lambda total, w: total.at[expert].add(w[0]), weights_grad, params_grad
    )
    return weights_grad, inputs_grad.at[ids].set(rows_grad[0], mode="drop")

  return jax.lax.fori_loop(
    0, buffers.num_blocks, body, (weights_grad, buffers.collect(buffers_grad))
  )


class ExpertBuffers:
  """Buffers of C rows per expert, and overflow blocks of C rows beyond them.

  A row holds the id of an assignment, or A where the row is empty. JAX drops or
  fills rows with the id A, which is out of bounds.

  Attributes:
    size: C.
    ids: `[E, C]` the first assignments of each expert.
    tokens: `[E, C]` the tokens of `ids`.
    num_blocks: number of overflow blocks.
  """

  def __init__(self, assignments: SortedAssignments, num_tokens: int):
    """Places the assignments of `num_tokens` tokens."""
    num_assignments = assignments.order.shape[0]
    self._assignments, self._num_assignments = assignments, num_assignments
    self._num_selected = num_assignments // num_tokens
    mean = num_assignments / assignments.start.shape[0]
    # The counts of a balanced router have a variance close to their mean: two
    # standard deviations above it, an expert seldom needs an overflow block.
    rows = math.ceil((mean + 2 * math.sqrt(mean)) / _ROWS) * _ROWS
    self.size = min(rows, -(-num_assignments // _ROWS) * _ROWS)
    self.ids = self.round_ids(0)
    self.tokens = self.token_ids(self.ids)
    blocks = -(-jnp.maximum(assignments.count - self.size, 0) // self.size)
    self._ends = jnp.cumsum(blocks)
    self.num_blocks = self._ends[-1]

  def round_ids(self, index: chex.Array) -> chex.Array:
    """Returns the assignments `[E, C]` in the round with this index.

    Round r holds assignments r·C to (r + 1)·C of each expert.
    """
    return self._slice(
      self._assignments.start, self._assignments.count, index * self.size
    )

  def _slice(self, start, count, first):
    """Returns assignments `first` to `first + C` of experts, A past their end.

    `start` and `count` are `[E]` for all experts or scalars for one of them.
    """
    positions = first + jnp.arange(self.size)
    ids = self._assignments.order.at[start[..., None] + positions].get(
      mode="clip"
    )
    return jnp.where(positions < count[..., None], ids, self._num_assignments)

  def token_ids(self, ids: chex.Array) -> chex.Array:
    """Returns the tokens of assignments; an arbitrary token for the id A."""
    return jnp.minimum(ids, self._num_assignments - 1) // self._num_selected

  def fill(self, values: chex.Array) -> chex.Array:
    """Copies `[A, D]` into buffers `[E, C, D]`, 0 in empty rows."""
    return values.at[self.ids].get(mode="fill", fill_value=0.0)

  def collect(self, values: chex.Array, index: chex.Array = 0) -> chex.Array:
    """Copies buffers `[E, C, D]` of a round to `[A, D]`, 0 elsewhere."""
    assignments = self._assignments
    rank = assignments.rank - index * self.size
    inside = (rank >= 0) & (rank < self.size)
    inside &= assignments.expert < assignments.start.shape[0]
    row = jnp.where(inside, assignments.expert * self.size + rank, 0)
    collected = values.reshape(-1, values.shape[-1])[row]
    return jnp.where(inside[:, None], collected, 0.0)

  def overflow(self, block: chex.Array) -> tuple[chex.Array, chex.Array]:
    """Returns the expert of an overflow block and its assignments `[C]`."""
    assignments = self._assignments
    expert = jnp.searchsorted(self._ends, block, side="right")
    before = jnp.where(expert > 0, self._ends[expert - 1], 0)
    # The first C assignments are in the buffer.
    first = (1 + block - before) * self.size
    return expert, self._slice(
      assignments.start[expert], assignments.count[expert], first
    )


def _select(weights, expert):
  return jax.tree.map(lambda w: w[expert][None], weights)


def _hidden(weights, x):
  """Returns the hidden units of every expert for its rows, `[E, C, H]`."""
  hidden = jnp.einsum("ecd,edh->ech", x, weights.hidden_kernel)
  return nn.relu(hidden + weights.hidden_bias[:, None])


def _output(weights, hidden):
  outputs = jnp.einsum("ech,ehd->ecd", hidden, weights.output_kernel)
  return outputs + weights.output_bias[:, None]


def _gradients(weights, x, hidden, grad):
  """Returns the gradients of `weights` and `x` for the output gradient."""
  hidden_grad = jnp.einsum("ecd,ehd->ech", grad, weights.output_kernel)
  hidden_grad = jnp.where(hidden > 0, hidden_grad, 0.0)
  x_grad = jnp.einsum("ech,edh->ecd", hidden_grad, weights.hidden_kernel)
  weights_grad = Weights(
    jnp.einsum("ecd,ech->edh", x, hidden_grad),
    jnp.sum(hidden_grad, axis=1),
    jnp.einsum("ech,ecd->ehd", hidden, grad),
    jnp.sum(grad, axis=1),
  )
  return weights_grad, x_grad
