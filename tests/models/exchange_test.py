"""Tokens are sent to experts on other devices, simulated by `vmap`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models import dispatch as dispatch_lib
from btw_jax.models import experts as experts_lib
from support import problems
from support import routing

NUM_DEVICES, NUM_EXPERTS, NUM_TOKENS = 4, 8, 96


def _shared(x):
  return x.reshape(NUM_DEVICES, -1, *x.shape[1:])


def _whole(x):
  return x.reshape(-1, *x.shape[2:])


def _tokens(case):
  x, chosen, gates = routing.tokens(NUM_TOKENS, NUM_EXPERTS, 2)
  if case == "one device has all":
    chosen[:] = [6, 7]
  if case == "some are sent to nobody":
    chosen[::3] = NUM_EXPERTS
    chosen[1::3, 0] = NUM_EXPERTS
  return x, chosen, gates * (chosen < NUM_EXPERTS)


def _loss(mix, weights, x, chosen, gates):
  mixed = mix(weights, x, chosen, gates)
  return jnp.sum(jnp.sin(mixed)), mixed


@functools.cache
def _both(dispatch):
  """Returns values and gradients on one device and on several."""
  alone = functools.partial(experts_lib.mixture, dispatch=dispatch)
  together = functools.partial(alone, axis_name="experts")
  one, several = (
    jax.value_and_grad(
      functools.partial(_loss, mix), argnums=(0, 1, 3), has_aux=True
    )
    for mix in (alone, together)
  )
  return jax.jit(one), jax.jit(jax.vmap(several, axis_name="experts"))


@pytest.mark.training
@pytest.mark.parametrize("dispatch", dispatch_lib.DISPATCHES)
@pytest.mark.parametrize(
  "case", ["balanced", "one device has all", "some are sent to nobody"]
)
def test_the_mixture_is_that_of_one_device(case, dispatch):
  one, several = _both(dispatch)
  arguments = (routing.weights(NUM_EXPERTS), *_tokens(case))
  (_, expected), slopes = one(*arguments)
  (_, actual), sharded_slopes = several(*jax.tree.map(_shared, arguments))
  np.testing.assert_allclose(_whole(actual), expected, rtol=1e-4, atol=1e-5)
  for sharded_slope, slope in problems.leaves(sharded_slopes, slopes):
    np.testing.assert_allclose(
      _whole(sharded_slope), slope, rtol=1e-4, atol=1e-4
    )


def test_one_message_holds_what_a_balanced_router_sends():
  """An unbalanced router needs more messages."""
  for case, several in (("balanced", False), ("one device has all", True)):
    _, chosen, _ = _tokens(case)
    chosen = chosen[: NUM_TOKENS // NUM_DEVICES]
    runs = dispatch_lib.sort_by_expert(chosen // 2, NUM_DEVICES)
    slots = dispatch_lib.ExpertBuffers(runs, len(chosen))
    assert bool(slots.num_blocks) == several
