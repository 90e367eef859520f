"""Tokens that travel to the devices of their experts, and answers back.

Each of the P devices of an axis has E / P experts, in order, and tokens of its
own. A token goes where its expert is, and its answer comes back, by all-to-all:

1. Assignments are sorted by the device that they go to.
2. The first C for each device leave in one message, C a little above their mean
   number. What goes beyond follows in further turns, as many as the fullest
   message needs: none while the router is balanced, and none is dropped.

Lepikhin et al. (2021), "GShard: scaling giant models with conditional
computation and automatic sharding", which drops what goes beyond.
"""

from collections.abc import Callable
import functools

import chex
import jax
import jax.numpy as jnp

from btw_jax.models import dispatch

# Of experts at hand, tokens `[N, D]`, experts `[N, 1]` and gates `[N, 1]`.
Answer = Callable[
  [dispatch.Weights, chex.Array, chex.Array, chex.Array], chex.Array
]


def answers(
  answer: Answer,
  weights: dispatch.Weights,
  x: chex.Array,
  experts: chex.Array,
  axis_name: str,
) -> chex.Array:
  """What the chosen experts say to each token, wherever they are.

  Args:
    answer: of one device, a value of `dispatch.DISPATCHES`; static.
    weights: of the E / P experts of this device.
    x: `[N, D]` tokens of this device.
    experts: `[N, K]` int, whom each is sent to, 0 to E − 1; E is nobody.
    axis_name: of the devices.

  Returns:
    `[N, K, D]`; 0 where it is nobody.
  """
  num_devices = jax.lax.axis_size(axis_name)
  each = weights.hidden_bias.shape[0]
  # Nobody is with nobody: device P.
  runs = dispatch.sort(experts // each, num_devices)
  experts = experts.reshape(-1)
  first = _turn(answer, axis_name, weights, x, experts, runs, 0)
  size = dispatch.Slots(runs, x.shape[0]).size
  needed = -(-jnp.max(runs.count) // size)
  # All must take part in as many turns.
  num_turns = jax.lax.pmax(needed, axis_name)
  rest = _rest(answer, axis_name, weights, x, experts, runs, num_turns)
  return (first + rest).reshape(x.shape[0], -1, x.shape[1])


def _turn(answer, axis_name, weights, x, experts, runs, number):
  """Answers `[A, D]` to what leaves in a turn, 0 to the others."""
  slots = dispatch.Slots(runs, x.shape[0])
  ids, each = slots.turn(number), weights.hidden_bias.shape[0]
  # Fewer than C leaves the rest of a message to nobody.
  whom = experts.at[ids].get(mode="fill", fill_value=-1)
  whom = jnp.where(whom < 0, each, whom % each)
  travel = functools.partial(
    jax.lax.all_to_all, axis_name=axis_name, split_axis=0, concat_axis=0
  )
  tokens, whom = travel(x[slots.token(ids)]), travel(whom)
  flat, whom = tokens.reshape(-1, x.shape[1]), whom.reshape(-1, 1)
  found = answer(weights, flat, whom, jnp.ones(whom.shape, x.dtype))
  return slots.collect(travel(found.reshape(tokens.shape)), number)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rest(answer, axis_name, weights, x, experts, runs, num_turns):
  """Answers to what leaves after the first turn."""

  def body(number, so_far):
    return so_far + _turn(answer, axis_name, weights, x, experts, runs, number)

  none = jnp.zeros((experts.shape[0], x.shape[1]), x.dtype)
  return jax.lax.fori_loop(1, num_turns, body, none)


def _rest_fwd(answer, axis_name, *arguments):
  return _rest(answer, axis_name, *arguments), arguments


def _rest_bwd(answer, axis_name, arguments, grad):
  weights, x, experts, runs, num_turns = arguments

  def body(number, so_far):
    _, pull_back = jax.vjp(
      lambda weights, x: _turn(
        answer, axis_name, weights, x, experts, runs, number
      ),
      weights,
      x,
    )
    return jax.tree.map(jnp.add, so_far, pull_back(grad))

  none = jax.tree.map(jnp.zeros_like, (weights, x))
  return *jax.lax.fori_loop(1, num_turns, body, none), None, None, None


_rest.defvjp(_rest_fwd, _rest_bwd)
