"""Measures the mixture of experts: growth, PyTorch, the arithmetic limit.

A step computes the gradients of a mixture by its parameters, tokens and gates,
and moves the parameters along theirs. A few steps make one program, as in
training.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.models import experts
from experiments.benchmarks import timing
from experiments.benchmarks import torch_rivals

NUM_SELECTED = 2
STEPS, _RATE = 2, 1e-4
# The largest number of experts for which dense dispatch is timed; with more, a
# step takes seconds.
_MOST_DENSE = 64


class Case(NamedTuple):
  """The sizes of a measurement."""

  tokens: int
  width: int
  hidden: int
  experts: int


# So many tokens that each of 64 experts receives 512.
_MANY = [Case(16384, 128, 512, e) for e in (4, 16, 64)]
LARGE = [Case(4096, 128, 512, e) for e in (4, 16, 64, 256)]
# A training batch of 32 examples of digits with noise, at the default sizes.
_BATCH = [Case(32 * 7, 64, 64, e) for e in (4, 16, 64)]


def run(rounds: int) -> list[dict[str, str]]:
  """Measures growth with the number of experts, then against both rivals."""
  rows, (first, *larger) = [], _MANY
  fewest = {d: _step(first, d) for d in ("sparse", "dense")}
  for case in larger:
    for dispatch, smallest in fewest.items():
      pair = _step(case, dispatch), smallest
      name = f"{dispatch} step, E = {case.experts} / E = {first.experts}"
      has_target = (dispatch, case.experts) == ("sparse", 64)
      target = "at most 1.5" if has_target else ""
      rows.append(compare(name, case, pair, target, rounds))
  for case in (*LARGE, *_BATCH):
    sparse, size = _step(case, "sparse"), f"E = {case.experts}"
    if case.experts <= _MOST_DENSE:
      pair = _step(case, "dense"), sparse
      name = f"dense / sparse step, {size}"
      rows.append(compare(name, case, pair, "", rounds))
    if torch_steps := torch_loop(case):
      name = f"PyTorch loop / sparse step, {size}"
      pair = torch_steps, sparse
      rows.append(compare(name, case, pair, "at least 3", rounds))
    name = f"matrix products alone / sparse step, {size}"
    pair = products(case), sparse
    rows.append(compare(name, case, pair, "", rounds))
  return rows


def compare(
  name: str,
  case: Case,
  pair: tuple[Callable[[], None], Callable[[], None]],
  target: str,
  rounds: int,
) -> dict[str, str]:
  """Times two sides that take `STEPS` steps, as a row of the table."""
  a, b, ratio = timing.compare(*pair, rounds)
  name += f", {case.tokens:,} x {case.width}-{case.hidden}-{case.width}"
  return timing.row(name, a / STEPS, b / STEPS, ratio, target)


def torch_loop(case: Case) -> Callable[[], None] | None:
  """Returns the same steps as a loop in PyTorch; None without PyTorch."""
  return torch_rivals.expert_steps(
    *inputs(case),
    num_experts=case.experts,
    hidden_dim=case.hidden,
    learning_rate=_RATE,
    num_steps=STEPS,
  )


def inputs(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws tokens `[B, D]`, distinct uniform experts and gates `[B, K]`."""
  rng = np.random.default_rng(0)
  tokens = rng.normal(size=(case.tokens, case.width))
  scores = rng.normal(size=(case.tokens, case.experts))
  chosen = np.argsort(scores, axis=1)[:, :NUM_SELECTED]
  gates = rng.dirichlet(np.ones(NUM_SELECTED), case.tokens)
  return tokens.astype(np.float32), chosen, gates.astype(np.float32)


def _step(case: Case, dispatch: str) -> Callable[[], None]:
  """Returns a few training steps of our layer."""
  tokens, chosen, gates = map(jnp.asarray, inputs(case))
  layer = experts.Experts(case.experts, case.hidden, dispatch)
  params = layer.init(jax.random.key(0), tokens[:1], chosen[:1], gates[:1])

  def total(params, tokens, gates):
    return jnp.sum(layer.apply(params, tokens, chosen, gates) ** 2)

  def step(params, _):
    gradients = jax.grad(total, argnums=(0, 1, 2))(params, tokens, gates)
    params = jax.tree.map(lambda p, g: p - _RATE * g, params, gradients[0])
    return params, gradients[1:]

  steps = jax.jit(lambda params: jax.lax.scan(step, params, length=STEPS))
  return lambda: jax.block_until_ready(steps(params))


def products(case: Case) -> Callable[[], None]:
  """Returns the six matrix products of a step, with no dispatch around them."""
  rng = np.random.default_rng(0)
  rows, width, hidden = case.tokens * NUM_SELECTED, case.width, case.hidden
  shapes = (rows, width), (width, hidden), (hidden, width)
  start = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]

  def step(carry, _):
    x, w, v = carry
    h = x @ w
    y = h @ v
    h_gradient = y @ v.T
    gradients = (h_gradient @ w.T, x.T @ h_gradient, h.T @ y)
    # The change is so small that no value grows. Without it the compiler would
    # remove the products, because nothing uses them.
    return [c - 1e-20 * g for c, g in zip(carry, gradients, strict=True)], None

  steps = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS)[0])
  return lambda: jax.block_until_ready(steps(start))
