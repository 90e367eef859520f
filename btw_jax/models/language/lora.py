"""Low-rank changes of the kernels of a decoder.

Hu et al. (2022), "LoRA: low-rank adaptation of large language models": in
place of a kernel, a product of two thin matrices is trained and added to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Factors(NamedTuple):
  """The factors of the change `a @ b` of a kernel `[D, F]`.

  Attributes:
    a: `[D, rank]`.
    b: `[rank, F]`.
  """

  a: chex.Array
  b: chex.Array


def init(
  key: chex.PRNGKey,
  params: chex.ArrayTree,
  rank: int,
  layers: Sequence[int],
) -> chex.ArrayTree:
  """Returns the factors of the kernels of attention and perceptrons.

  Args:
    key: draws the first factors; the second are 0, so that nothing changes.
    params: the parameters of a `LanguageNetwork`.
    rank: of the change of a kernel.
    layers: the layers of the decoder that change, from 0.

  Returns:
    Nested dicts like the decoder's part of `params`, of `Factors` in place of
    kernels, for these layers only.

  Raises:
    ValueError: if a layer does not exist.
  """
  decoder = params["decoder"]
  factors = {}
  for name in (f"layers_{i}" for i in layers):
    if name not in decoder:
      raise ValueError(
        f"{name}: choose layers of the decoder, {list(decoder)}."
      )
    factors[name] = {}
    for part in ("attention", "mlp"):
      factors[name][part] = {}
      for kernel, leaf in decoder[name][part].items():
        key, draw = jax.random.split(key)
        factors[name][part][kernel] = _init_factors(draw, leaf["kernel"], rank)
  return factors


def _init_factors(key, kernel, rank):
  """Returns the factors of a kernel `[D, F]`, whose product is 0."""
  num_inputs, num_outputs = kernel.shape
  a = jax.random.normal(key, (num_inputs, rank), kernel.dtype)
  return Factors(
    a / num_inputs**0.5, jnp.zeros((rank, num_outputs), kernel.dtype)
  )


def merge(
  params: chex.ArrayTree, factors: chex.ArrayTree, scale: float
) -> chex.ArrayTree:
  """Adds `scale · a @ b` to the kernels that have factors.

  Args:
    params: the parameters of a `LanguageNetwork`.
    factors: from `init`.
    scale: factor of the change.

  Returns:
    The parameters of the changed network; `params` stay as they are.
  """

  def add(subtree, factors):
    if isinstance(factors, Factors):
      change = scale * (factors.a @ factors.b)
      return {**subtree, "kernel": subtree["kernel"] + change}
    changed = {name: add(subtree[name], part) for name, part in factors.items()}
    return {**subtree, **changed}

  return {**params, "decoder": add(params["decoder"], factors)}
