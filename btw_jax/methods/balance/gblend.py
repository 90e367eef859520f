"""G-Blend: losses weighed by how well each of them generalises.

Wang, Tran and Feiszli (2020), "What makes training multi-modal classification
networks hard?", arXiv 1905.12681.
"""

import dataclasses
from typing import ClassVar

import chex
import jax.numpy as jnp

from btw_jax import types
from btw_jax.methods.balance import base

# Every fifth slot of a batch holds examples that only measure: the run's own
# validation split chooses epochs and settings, and must not choose weights too.
_EVERY = 5
# The least overfitting, in the unit of the loss, that a weight is divided by.
_LEAST = 1e-3


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Minimises `w_0·L + Σ_m w_m·L_m`, with w ∝ |G/O²| of each loss.

  Over a super-epoch, G is the fall of a loss on held-out examples, O the growth
  of its gap to the training examples. A fifth of the training examples are held
  out. Losses are means over an epoch. The weights sum to 1, and are equal in
  the first super-epoch. A regression takes its own training loss.
  """

  setting: ClassVar[base.Setting] = base.Setting(
    "super-epoch", 10.0, 2.0, 20.0, log=True
  )

  warm_up: ClassVar[int] = 10

  @classmethod
  def check(cls, network, batch_size):
    """Refuses batches without a slot for held-out examples."""
    del network
    if batch_size < _EVERY:
      return f"needs --batch_size of at least {_EVERY}"
    return None

  def init(self, seed):
    """Returns the state: weights, sums of an epoch, losses of a super-epoch."""
    del seed
    number = self.num_modalities + 1
    zeros = jnp.zeros((2, number))
    return {
      "weights": jnp.full(number, 1 / number, jnp.float32),
      "sums": zeros,
      "counts": zeros,
      "before": zeros,
      "epoch": jnp.int32(0),
      "length": jnp.float32(self.setting.default),
    }

  def observe(self, step, forward, embeddings):
    """Adds up the losses of training and held-out examples."""
    losses, known = self._losses(forward, embeddings)
    is_held = _is_held(forward)
    where = jnp.stack([known & ~is_held, known & is_held])
    sums, counts = forward.sum_batch(
      (
        jnp.sum(jnp.where(where, losses, 0.0), axis=-1),
        jnp.sum(where, axis=-1).astype(jnp.float32),
      )
    )
    return step.state | {
      "sums": step.state["sums"] + sums,
      "counts": step.state["counts"] + counts,
      "length": jnp.float32(self.value(step)),
    }

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Weighs the losses, and leaves out held-out examples."""
    del outputs
    of_parts, known = self._losses(forward, embeddings)
    first, *others = step.state["weights"]
    total = first * losses
    for weight, part, where in zip(
      others, of_parts[1:], known[1:], strict=True
    ):
      total = total + weight * jnp.where(where, part, 0.0)
    return jnp.where(_is_held(forward), 0.0, _EVERY / (_EVERY - 1) * total)

  def end_epoch(self, state):
    """Computes new weights after a super-epoch."""
    now = state["sums"] / jnp.maximum(state["counts"], 1.0)
    epoch = state["epoch"] + jnp.int32(1)
    is_due = epoch % jnp.maximum(jnp.round(state["length"]), 1.0) == 0
    is_first = state["epoch"] == 0
    new = weights(state["before"], now, state["counts"].min(axis=0) > 0)
    return state | {
      "weights": jnp.where(is_due & ~is_first, new, state["weights"]),
      "before": jnp.where(is_due | is_first, now, state["before"]),
      "sums": jnp.zeros_like(state["sums"]),
      "counts": jnp.zeros_like(state["counts"]),
      "epoch": epoch,
    }

  def _losses(self, forward, embeddings):
    """Returns losses `[M + 1, B]` of all modalities and of each, and a mask."""
    number = self.num_modalities
    subsets = jnp.concatenate(
      [jnp.ones((1, number), bool), jnp.eye(number, dtype=bool)]
    )
    outputs, known = forward.fuse_subsets(embeddings, subsets)
    return forward.task.loss(outputs, forward.batch.target), known


def _is_held(forward):
  """Returns `[B]` bool, the held-out examples: slots own their examples."""
  numbers = types.slots(len(forward.batch.present), forward.axis_name)
  return numbers % _EVERY == _EVERY - 1


def weights(
  before: chex.Array, now: chex.Array, known: chex.Array
) -> chex.Array:
  """Computes the weights `[L]` of losses, which sum to 1.

  Args:
    before: `[2, L]` training and held-out losses at the start.
    now: `[2, L]` losses at the end.
    known: `[L]` bool, the losses that were measured; others weigh 0.

  Returns:
    `[L]`, |G/O²| normalised; O is at least 0.001.
  """
  gain = before[1] - now[1]
  growth = (now[1] - now[0]) - (before[1] - before[0])
  ratio = jnp.abs(gain) / jnp.maximum(jnp.abs(growth), _LEAST) ** 2
  ratio = jnp.where(known, ratio, 0.0)
  total = jnp.sum(ratio)
  equal = jnp.full(len(ratio), 1 / len(ratio), ratio.dtype)
  return jnp.where(total > 0, ratio / jnp.where(total > 0, total, 1.0), equal)
