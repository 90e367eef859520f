"""Adversarial augmentation: embeddings moved to where the loss is larger."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import forward as forward_lib
from btw_jax import types


@dataclasses.dataclass(frozen=True)
class Adversarial:
  """A batch whose embeddings are moved by projected gradient ascent.

  Madry et al. (2018), "Towards deep learning models resistant to adversarial
  attacks", equation 2.1 and the paragraph after it, on embeddings and inside a
  box: every number of an embedding moves by ε at most. Parameters are held
  fixed while that is sought, and it is held fixed while they learn.

  Attributes:
    radius: ε, relative to the standard deviation of a modality's embeddings in
      the batch.
    rate: length of a step, relative to ε.
    num_steps: of ascent, static.
    signed: ascend by the sign of the gradient, or by the gradient.
    modalities: positions of those that may be moved; all if None.
  """

  radius: float = 1e-3
  rate: float = 0.1
  num_steps: int = 2
  signed: bool = True
  modalities: Sequence[int] | None = None
  num_views: ClassVar[int] = 1

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Outputs for the moved embeddings.

    Args:
      forward: of the batch.
      embeddings: `[B, N, D]`, as it encodes them.
      key: of where the ascent starts, the same on every device.

    Returns:
      Outputs `[U, B, K]`, and the batch.
    """
    fixed = forward.held_fixed()
    start = jax.lax.stop_gradient(embeddings)
    radius = self.radii(forward, start)[:, None]

    def outputs_of(forward, moved):
      return forward.fuse(moved, forward.batch, forward.multipliers)[0]

    def loss(delta):
      outputs = outputs_of(fixed, start + delta)
      return jnp.sum(fixed.losses(outputs, fixed.batch))

    keys = types.keys(key, len(start), forward.axis_name)
    drawn = jax.vmap(
      lambda key: jax.random.uniform(key, start.shape[1:], minval=-1.0)
    )(keys)
    delta = ascend(
      loss,
      drawn * radius,
      radius,
      rate=self.rate * radius,
      num_steps=self.num_steps,
      signed=self.signed,
    )
    return outputs_of(forward, embeddings + delta), forward.batch

  def radii(
    self, forward: forward_lib.Forward, embeddings: chex.Array
  ) -> chex.Array:
    """How far each embedding may be moved.

    Args:
      forward: of the batch.
      embeddings: `[B, N, D]`.

    Returns:
      `[N]` ε times the deviation of the modality's embeddings in the whole
      batch; 0 of those that are not to be moved.
    """
    owners = np.asarray(forward.network.token_modalities)
    there = forward.batch.present[:, owners, None]
    values = jnp.where(there, embeddings, 0.0)
    counts = jnp.broadcast_to(there, values.shape)
    parts = (counts, values, values**2)
    sums = types.total(
      [jnp.sum(x, axis=(0, 2), dtype=jnp.float32) for x in parts],
      forward.axis_name,
    )
    num_modalities = forward.batch.present.shape[1]
    count, first, second = (
      jax.ops.segment_sum(x, owners, num_modalities) for x in sums
    )
    count = jnp.maximum(count, 1.0)
    variance = jnp.maximum(second / count - (first / count) ** 2, 0.0)
    moved = np.arange(num_modalities)
    chosen = moved if self.modalities is None else self.modalities
    radius = self.radius * jnp.sqrt(variance) * np.isin(moved, chosen)
    return radius[owners]


def ascend(
  loss: Callable[[chex.Array], chex.Array],
  start: chex.Array,
  radius: chex.Array | float,
  *,
  rate: chex.Array | float,
  num_steps: int,
  signed: bool = True,
) -> chex.Array:
  """Projected gradient ascent in a box: `δ ← clip(δ + rate·g, −ε, ε)`.

  Args:
    loss: of δ, a scalar.
    start: δ to begin with.
    radius: ε, to broadcast against δ.
    rate: to broadcast against δ.
    num_steps: static.
    signed: g is the sign of the gradient, or the gradient; static.

  Returns:
    δ, a constant of any gradient.
  """

  def body(delta, _):
    gradient = jax.grad(loss)(delta)
    direction = jnp.sign(gradient) if signed else gradient
    return jnp.clip(delta + rate * direction, -radius, radius), None

  delta, _ = jax.lax.scan(body, start, length=num_steps)
  return jax.lax.stop_gradient(delta)
