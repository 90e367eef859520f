"""Expert parallelism: an all-to-all exchange of tokens and expert outputs.

Each of the P devices of an axis has E / P experts, in order, and its own
tokens. A token is sent to the device of its expert, the output is sent back:

1. Assignments are sorted by the device of their expert.
2. The first C assignments to each device leave in one message, where C is a
   little above their mean number. Assignments beyond C follow in further
   rounds, as many as the fullest message needs: none while the router is
   balanced. No token is dropped.

Lepikhin et al. (2021), "GShard: scaling giant models with conditional
computation and automatic sharding", which drops the tokens beyond C.
"""

from collections.abc import Callable
import functools

import chex
import jax
import jax.numpy as jnp

from btw_jax.models import dispatch

# A value of `dispatch.DISPATCHES`, called with the experts of one device,
# tokens `[N, D]`, experts `[N, 1]` and gates `[N, 1]`.
Dispatch = Callable[
  [dispatch.Weights, chex.Array, chex.Array, chex.Array], chex.Array
]


def apply_experts(
  local_dispatch: Dispatch,
  weights: dispatch.Weights,
  x: chex.Array,
  experts: chex.Array,
  axis_name: str,
) -> chex.Array:
  """Returns the outputs of the chosen experts on any device, `[N, K, D]`.

  `weights` are the parameters of this device's E / P experts, which the static
  `local_dispatch` applies; `x` are its tokens `[N, D]`. `experts` `[N, K]` are
  the chosen experts, 0 to E − 1, or E for no expert, whose output is 0.
  """
  num_devices = jax.lax.axis_size(axis_name)
  num_local = weights.hidden_bias.shape[0]
  # Expert E, which is none, becomes device P, which is none either.
  assignments = dispatch.sort_by_expert(experts // num_local, num_devices)
  experts = experts.reshape(-1)
  first = _round(local_dispatch, axis_name, weights, x, experts, assignments, 0)
  size = dispatch.ExpertBuffers(assignments, x.shape[0]).size
  needed = -(-jnp.max(assignments.count) // size)
  # An all-to-all needs every device, so all of them run the same rounds.
  num_rounds = jax.lax.pmax(needed, axis_name)
  later = _later_rounds(
    local_dispatch, axis_name, weights, x, experts, assignments, num_rounds
  )
  return (first + later).reshape(x.shape[0], -1, x.shape[1])


def _round(local_dispatch, axis_name, weights, x, experts, assignments, index):
  """Returns outputs `[A, D]` of the assignments in a round, 0 for others."""
  buffers = dispatch.ExpertBuffers(assignments, x.shape[0])
  ids, num_local = buffers.round_ids(index), weights.hidden_bias.shape[0]
  # Empty rows of a message are sent to no expert.
  targets = experts.at[ids].get(mode="fill", fill_value=-1)
  targets = jnp.where(targets < 0, num_local, targets % num_local)
  all_to_all = functools.partial(
    jax.lax.all_to_all, axis_name=axis_name, split_axis=0, concat_axis=0
  )
  tokens, targets = all_to_all(x[buffers.token_ids(ids)]), all_to_all(targets)
  flat, targets = tokens.reshape(-1, x.shape[1]), targets.reshape(-1, 1)
  outputs = local_dispatch(
    weights, flat, targets, jnp.ones(targets.shape, x.dtype)
  )
  return buffers.collect(all_to_all(outputs.reshape(tokens.shape)), index)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _later_rounds(
  local_dispatch, axis_name, weights, x, experts, assignments, num_rounds
):
  """Returns the summed outputs `[A, D]` of all rounds after the first.

  The gradient is written by hand, because JAX cannot differentiate a loop whose
  length depends on data in reverse mode.
  """

  def body(index, outputs):
    return outputs + _round(
      local_dispatch, axis_name, weights, x, experts, assignments, index
    )

  zeros = jnp.zeros((experts.shape[0], x.shape[1]), x.dtype)
  return jax.lax.fori_loop(1, num_rounds, body, zeros)


def _later_rounds_fwd(local_dispatch, axis_name, *arguments):
  return _later_rounds(local_dispatch, axis_name, *arguments), arguments


def _later_rounds_bwd(local_dispatch, axis_name, arguments, grad):
  weights, x, experts, assignments, num_rounds = arguments

  def body(index, gradients):
    _, pull_back = jax.vjp(
      lambda weights, x: _round(
        local_dispatch, axis_name, weights, x, experts, assignments, index
      ),
      weights,
      x,
    )
    return jax.tree.map(jnp.add, gradients, pull_back(grad))

  zeros = jax.tree.map(jnp.zeros_like, (weights, x))
  return *jax.lax.fori_loop(1, num_rounds, body, zeros), None, None, None


_later_rounds.defvjp(_later_rounds_fwd, _later_rounds_bwd)
