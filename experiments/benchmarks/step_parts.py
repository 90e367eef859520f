"""Measures where the time of a training step goes.

Each row leaves a part out of the step of the suite `train`, or computes it in
another way, beside the whole step. Parts overlap, so that their times do not
add up to the step's.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax.training import guard
from btw_jax.training import trainer as trainer_lib
from experiments.benchmarks import timing
from experiments.benchmarks import train

_HIDDEN, _BATCH = 64, 32


class _Conditional(trainer_lib.Trainer):
  """A trainer whose optimizer skips gradients as optax's own wrapper does."""

  @functools.cached_property
  def guarded_optimizer(self) -> optax.GradientTransformation:
    """The optimizer in `optax.apply_if_finite`."""
    return optax.apply_if_finite(self.optimizer, jnp.iinfo(jnp.int32).max)


def run(rounds: int) -> list[dict[str, str]]:
  """Measures the step without each of its parts."""
  whole = train.make_trainer(("uniform",))
  without_dropout = train.make_trainer(("uniform",), dropout=0.0)
  descent = train.make_trainer(("uniform",), optimizer=optax.sgd(1e-3))
  conditional = _Conditional(
    whole.network, whole.task, whole.optimizer, whole.batch_size, whole.rule
  )
  step = train.steps(whole, 1)
  rows = []
  for name, other in (
    ("without dropout", train.steps(without_dropout, 1)),
    ("gradient descent, no AdamW", train.steps(descent, 1)),
    ("with optax's conditional", train.steps(conditional, 1)),
    ("matrix products alone", _products()),
    ("AdamW with its guard alone", _optimizer(whole)),
    ("a call that does nothing, per epoch", _nothing()),
  ):
    a, b, ratio = timing.compare(other, step, rounds)
    count = train.NUM_STEPS
    row = timing.row(f"{name} / step", a / count, b / count, ratio, "")
    rows.append(row)
  return rows


def _scan(step: Callable[[Any], Any], start: Any) -> Callable[[], Any]:
  """Returns as many steps as an epoch has, from arrays to arrays like them."""

  def steps(carry):
    return jax.lax.scan(
      lambda carry, _: (step(carry), None), carry, length=train.NUM_STEPS
    )[0]

  compiled = jax.jit(steps)
  return lambda: jax.block_until_ready(compiled(start))


def _products():
  """Returns the matrix products of the steps, forward and backward."""
  rng = np.random.default_rng(0)
  widths = len(train.WIDTHS), max(train.WIDTHS)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  start = (
    draw(widths[0], _BATCH, widths[1]),
    draw(widths[0], widths[1], _HIDDEN),
    draw(widths[0], _HIDDEN, _HIDDEN),
    draw(widths[0] * _HIDDEN, _HIDDEN),
  )

  def step(carry):
    x, first, second, head = carry
    hidden = jnp.einsum("mbd,mdh->mbh", x, first)
    embedding = jnp.einsum("mbd,mdh->mbh", hidden, second)
    joined = jnp.swapaxes(embedding, 0, 1).reshape(_BATCH, -1)
    joint = joined @ head
    joined_gradient = joint @ head.T
    gradient = jnp.swapaxes(joined_gradient.reshape(_BATCH, -1, _HIDDEN), 0, 1)
    hidden_gradient = jnp.einsum("mbh,mdh->mbd", gradient, second)
    gradients = (
      jnp.einsum("mbd,mbh->mdh", x, hidden_gradient),
      jnp.einsum("mbd,mbh->mdh", hidden, gradient),
      joined.T @ joint,
    )
    # The change is so small that no value grows; without it the compiler would
    # remove the products.
    pairs = zip(carry[1:], gradients, strict=True)
    return (x, *(w - 1e-20 * g for w, g in pairs))

  return _scan(step, start)


def _optimizer(trainer):
  """Returns the updates of the parameters alone."""
  optimizer = guard.skip_not_finite(trainer.optimizer)
  widths = len(train.WIDTHS), max(train.WIDTHS)
  shapes = (
    (*widths, _HIDDEN), (widths[0], 1, _HIDDEN), (widths[0], _HIDDEN, _HIDDEN),
    (widths[0], 1, _HIDDEN), (widths[0] * _HIDDEN, _HIDDEN), (_HIDDEN,),
    (_HIDDEN, 1), (1,),
  )  # fmt: skip
  params = [jnp.ones(shape) for shape in shapes]

  def step(carry):
    params, state = carry
    gradients = jax.tree.map(lambda x: 0.5 * x, params)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  return _scan(step, (params, optimizer.init(params)))


def _nothing():
  """Returns a call of a compiled program that does nothing."""
  compiled, x = jax.jit(lambda x: x), jnp.zeros(1)
  return lambda: jax.block_until_ready(compiled(x))
