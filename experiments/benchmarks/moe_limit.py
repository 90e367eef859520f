"""Measures how much faster than PyTorch's loop any mixture could be.

A step needs six matrix products on the rows of the chosen experts. Their time
bounds the time of a step from below, so the loop's time over theirs bounds the
ratio that a mixture can reach. One large product beside them tells how near
they come to the rate of the machine.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments.benchmarks import moe
from experiments.benchmarks import timing

# So large that nothing but arithmetic counts.
_SIZE = 2048


def run(rounds: int) -> list[dict[str, str]]:
  """Measures the limit for each number of experts, then the products' rate."""
  rows = []
  for case in moe.LARGE:
    products, size = moe.products(case), f"E = {case.experts}"
    if torch_steps := moe.torch_loop(case):
      name = f"PyTorch loop / matrix products alone, {size}"
      pair = torch_steps, products
      rows.append(moe.compare(name, case, pair, "", rounds))
  case = moe.LARGE[0]
  name = f"product of {_SIZE:,} x {_SIZE:,} / products of a step, per operation"
  seconds, of_step, ratio = timing.compare(
    _large_product(), moe.products(case), rounds
  )
  shape = case.tokens * moe.NUM_SELECTED, case.width, case.hidden
  operations = 6 * shape[0] * shape[1] * shape[2] * moe.STEPS
  share = operations / _SIZE**3
  rows.append(timing.row(name, seconds * share, of_step, ratio * share, ""))
  return rows


def _large_product() -> Callable[[], None]:
  x = jnp.ones((_SIZE, _SIZE))
  product = jax.jit(lambda x: x @ x)
  return lambda: jax.block_until_ready(product(x))
