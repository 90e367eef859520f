"""Speed of the mixture of experts: growth, PyTorch, the limit of arithmetic.

A step is the gradient of a mixture by its weights, tokens and gates, and a
descent of the weights along it; a few steps make a turn, as in training one
program.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.models import experts
from experiments.benchmarks import timing

_NUM_SELECTED = 2
_STEPS, _RATE = 2, 1e-4
# Experts up to which dense dispatch is timed: it takes seconds beyond.
_MOST_DENSE = 64


class _Case(NamedTuple):
  """Tokens and experts of a measurement."""

  tokens: int
  width: int
  hidden: int
  experts: int


# Enough tokens for 64 experts to have 512 each.
_MANY = [_Case(16384, 128, 512, e) for e in (4, 16, 64)]
_LARGE = [_Case(4096, 128, 512, e) for e in (4, 16, 64, 256)]
# A training batch of 32 examples of digits with noise, at the default sizes.
_BATCH = [_Case(32 * 7, 64, 64, e) for e in (4, 16, 64)]


def run(rounds: int) -> list[dict[str, str]]:
  """Growth with the number of experts, against PyTorch, against arithmetic.

  Args:
    rounds: turns of each side.

  Returns:
    Rows of a table.
  """
  rows, (first, *others) = [], _MANY
  fewest = {d: _step(first, d) for d in ("sparse", "dense")}
  for case in others:
    for dispatch, smallest in fewest.items():
      pair = _step(case, dispatch), smallest
      name = f"{dispatch} step, E = {case.experts} / E = {first.experts}"
      bound = (dispatch, case.experts) == ("sparse", 64)
      target = "at most 1.5" if bound else ""
      rows.append(_compare(name, case, pair, target, rounds))
  for case in (*_LARGE, *_BATCH):
    sparse, size = _step(case, "sparse"), f"E = {case.experts}"
    if case.experts <= _MOST_DENSE:
      pair = _step(case, "dense"), sparse
      name = f"dense / sparse step, {size}"
      rows.append(_compare(name, case, pair, "", rounds))
    eager = _torch_step(case)
    if eager:
      name = f"PyTorch loop / sparse step, {size}"
      pair = eager, sparse
      rows.append(_compare(name, case, pair, "at least 3", rounds))
    name = f"products of the chosen / sparse step, {size}"
    pair = _products(case), sparse
    rows.append(_compare(name, case, pair, "", rounds))
  return rows


def _compare(name, case, pair, target, rounds):
  a, b, ratio = timing.compare(*pair, rounds)
  name += f", {case.tokens:,} x {case.width}-{case.hidden}-{case.width}"
  return timing.row(name, a / _STEPS, b / _STEPS, ratio, target)


def _inputs(case):
  """Tokens, and distinct experts chosen evenly at random, with gates."""
  rng = np.random.default_rng(0)
  tokens = rng.normal(size=(case.tokens, case.width))
  scores = rng.normal(size=(case.tokens, case.experts))
  chosen = np.argsort(scores, axis=1)[:, :_NUM_SELECTED]
  gates = rng.dirichlet(np.ones(_NUM_SELECTED), case.tokens)
  return tokens.astype(np.float32), chosen, gates.astype(np.float32)


def _step(case: _Case, dispatch: str) -> Callable[[], None]:
  tokens, chosen, gates = map(jnp.asarray, _inputs(case))
  layer = experts.Experts(case.experts, case.hidden, dispatch)
  params = layer.init(jax.random.key(0), tokens[:1], chosen[:1], gates[:1])

  def total(params, tokens, gates):
    return jnp.sum(layer.apply(params, tokens, chosen, gates) ** 2)

  def step(params, _):
    gradients = jax.grad(total, argnums=(0, 1, 2))(params, tokens, gates)
    params = jax.tree.map(lambda p, g: p - _RATE * g, params, gradients[0])
    return params, gradients[1:]

  steps = jax.jit(lambda params: jax.lax.scan(step, params, length=_STEPS))
  return lambda: jax.block_until_ready(steps(params))


def _products(case: _Case) -> Callable[[], None]:
  """The six matrix products of the chosen experts' step, on plain matrices."""
  rng = np.random.default_rng(0)
  rows, width, hidden = case.tokens * _NUM_SELECTED, case.width, case.hidden
  shapes = (rows, width), (width, hidden), (hidden, width)
  start = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]

  def step(carry, _):
    x, w, v = carry
    h = x @ w
    y = h @ v
    of_h = y @ v.T
    used = (of_h @ w.T, x.T @ of_h, h.T @ y)
    # So small a change that nothing grows, yet none can be left out.
    return [c - 1e-20 * u for c, u in zip(carry, used, strict=True)], None

  steps = jax.jit(lambda carry: jax.lax.scan(step, carry, length=_STEPS)[0])
  return lambda: jax.block_until_ready(steps(start))


def _torch_step(case: _Case) -> Callable[[], None] | None:
  """The usual loop over experts, gather, expert, scatter; None without it."""
  torch = timing.library("torch")
  if torch is None:
    return None
  torch.manual_seed(0)
  layers = torch.nn.ModuleList(
    [
      torch.nn.Sequential(
        torch.nn.Linear(case.width, case.hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(case.hidden, case.width),
      )
      for _ in range(case.experts)
    ]
  )
  tokens, chosen, gates = map(torch.from_numpy, _inputs(case))
  tokens.requires_grad_()
  gates.requires_grad_()

  optimizer = torch.optim.SGD(layers.parameters(), _RATE)

  def step():
    tokens.grad = gates.grad = None
    optimizer.zero_grad()
    mixed = torch.zeros_like(tokens)
    for e, layer in enumerate(layers):
      rows, place = torch.where(chosen == e)
      answers = layer(tokens[rows]) * gates[rows, place, None]
      mixed = mixed.index_add(0, rows, answers)
    (mixed**2).sum().backward()
    optimizer.step()

  def steps():
    for _ in range(_STEPS):
      step()

  return steps
